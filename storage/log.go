package storage

import (
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
)

// Log is one partition's local log. Reading takes no lock and may run beside
// anything. Append, AppendAsFollower, Truncate, TruncateFully, Roll and
// AssignEpoch decide what the log holds: their caller has to be the only one
// (the log's own lock merely keeps them from corrupting it).
type Log struct {
	env   *env
	place atomic.Pointer[place]
	// arriving is the directory that the log is about to be in; nil if it is not.
	arriving atomic.Pointer[dataDir]
	key      partitionKey
	topicID  atomic.Pointer[[16]byte]
	// supersedes are directories that were offline when the log was made; see rivals.go.
	supersedes [][16]byte
	logger     logLogger
	config     atomic.Pointer[Config]
	closed     atomic.Bool

	writer   invariants.Sole
	segments atomic.Pointer[segmentList]
	offsets  logOffsets
	// startCheckpoint is what of offsets.start outlives a crash.
	startCheckpoint checkpointedStart
	epochs          epochCache

	// mu serializes everything that changes the log: segments, offsets (but
	// the high watermark), producers, epochs. It is never held over an fsync
	// of data.
	mu         invariants.Mutex[rankLog]
	producers  producerState
	snapshotAt int64 // offset of the newest snapshot, at which nothing need be replayed
	onDisk     bool  // the directory exists; a new log's comes with the first write
	flush      flushState
	cleaning   cleaningState

	// stable guards what the last stable offset follows from: producers.open, which changes
	// under mu as well, and producers.unreplicated. It is never held over I/O, so that the
	// high watermark moves while an append that has mu does not return.
	stable invariants.Mutex[rankStable]
}

// place is where a log's files are. It changes when a move ends, under the log's
// lock, its flush token and its cleaning token: who holds one of them may use
// what dir and path said before.
type place struct {
	dir  *dataDir
	path string
}

// dir is the data directory that the log is in.
func (l *Log) dir() *dataDir { return l.place.Load().dir }

// DirectoryID is the directory.id of the data directory that the log is in.
func (l *Log) DirectoryID() [16]byte { return l.dir().id }

// path is the log's own directory.
func (l *Log) path() string { return l.place.Load().path }

// logOffsets are the offsets that readers load, in the order that S15 has. It holds at any
// moment: what must not be above another one is lowered before it, and raised after it.
type logOffsets struct {
	start     atomic.Int64
	hw        atomic.Int64
	end       atomic.Int64
	flushed   atomic.Int64 // all below is durable
	remoteEnd atomic.Int64 // all below is in the object store; -1 unknown
	unstable  atomic.Int64 // first offset of an undecided transaction; -1 none
	recovery  atomic.Int64 // where recovery after a crash has to begin
}

// segmentList is the log's segments, ascending, the last one active. A list is
// never changed, only replaced: a reader that holds one keeps seeing the log as
// it was, and compaction can put one segment in the place of several.
type segmentList []*segment

func (s segmentList) active() *segment { return s[len(s)-1] }

// find is the place of the last segment that starts at or before offset; -1 if none.
func (s segmentList) find(offset int64) int {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid].base <= offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

func newLog(e *env, dir *dataDir, key partitionKey, cfg Config) *Log {
	l := &Log{env: e, key: key}
	l.place.Store(&place{dir, filepath.Join(dir.path, key.String())})
	l.logger.log = l
	l.topicID.Store(new([16]byte))
	l.config.Store(e.share(cfg))
	l.offsets.remoteEnd.Store(-1)
	l.offsets.unstable.Store(-1)
	l.flush.token.Init()
	l.cleaning.token.Init()
	l.flush.last = e.now()
	return l
}

// Topic is the name of the topic.
func (l *Log) Topic() string { return l.key.topic }

// Partition is the number of the partition.
func (l *Log) Partition() int32 { return l.key.partition }

// TopicID is the topic's id, all zero if the directory has none.
func (l *Log) TopicID() [16]byte { return *l.topicID.Load() }

// Config is the settings in force.
func (l *Log) Config() Config { return *l.config.Load() }

// SetConfig puts settings in force; they hold for what happens from now on.
func (l *Log) SetConfig(c Config) {
	if c != l.Config() {
		l.config.Store(l.env.share(c))
	}
}

// StartOffset is the first offset of the log over both tiers.
func (l *Log) StartOffset() int64 { return l.offsets.start.Load() }

// LocalStartOffset is the first offset that is on this disk.
func (l *Log) LocalStartOffset() int64 {
	return max((*l.segments.Load())[0].base, l.offsets.start.Load())
}

// EndOffset is the offset that the next record gets.
func (l *Log) EndOffset() int64 { return l.offsets.end.Load() }

// FlushedOffset is the end of what is durable on this disk.
func (l *Log) FlushedOffset() int64 { return l.offsets.flushed.Load() }

// HighWatermark is the end of what is committed.
func (l *Log) HighWatermark() int64 { return l.offsets.hw.Load() }

// SetHighWatermark moves the high watermark forward, at most to the end; an
// older value changes nothing. It waits for no append.
func (l *Log) SetHighWatermark(offset int64) {
	offset = min(offset, l.offsets.end.Load())
	for {
		old := l.offsets.hw.Load()
		if offset <= old {
			return
		}
		if l.offsets.hw.CompareAndSwap(old, offset) {
			break
		}
	}
	if l.offsets.unstable.Load() >= 0 { // a decided transaction may be below it now
		l.updateUnstable()
	}
}

// LastStableOffset is the end of what is committed and belongs to no undecided transaction.
func (l *Log) LastStableOffset() int64 {
	// In this order: the unstable offset only vanishes once the high watermark
	// has passed its transaction.
	hw := l.offsets.hw.Load()
	if unstable := l.offsets.unstable.Load(); unstable >= 0 {
		return min(hw, unstable)
	}
	return hw
}

func (l *Log) updateUnstable() {
	l.stable.Lock()
	defer l.stable.Unlock()
	l.updateUnstableLocked()
}

// updateUnstableLocked is called under stable.
func (l *Log) updateUnstableLocked() {
	l.offsets.unstable.Store(l.producers.firstUnstable(l.offsets.hw.Load()))
}

// setProducersLocked replaces the producer state.
func (l *Log) setProducersLocked(p producerState) {
	l.stable.Lock()
	defer l.stable.Unlock()
	l.producers = p
	l.updateUnstableLocked()
}

// RemoteEndOffset is the end of what a committed manifest says is in the object
// store; -1 while that is not known.
func (l *Log) RemoteEndOffset() int64 { return l.offsets.remoteEnd.Load() }

// SetRemoteEndOffset tells that everything below offset is in the object store
// and named by a committed manifest: with remote storage enabled, retention
// deletes local segments only below it.
func (l *Log) SetRemoteEndOffset(offset int64) { l.offsets.remoteEnd.Store(offset) }

// Size is how many bytes the local segments have.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.size.Load()
	}
	return n
}

// SizeFrom is how many bytes the local segments have that begin at offset or
// later: what is not in the object store, if offset is where that ends.
func (l *Log) SizeFrom(offset int64) int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		if s.base >= offset {
			n += s.size.Load()
		}
	}
	return n
}

// LatestEpoch is the newest leader epoch that the log knows, or UndefinedEpoch.
func (l *Log) LatestEpoch() int32 { return l.epochs.latest() }

// EpochEntries are all leader epochs that the log knows. The slice must not be changed.
func (l *Log) EpochEntries() []EpochEntry { return l.epochs.load() }

// EndOffsetForEpoch is the largest epoch up to the one asked and the offset at
// which it ends; both undefined for an epoch above all, or without any.
func (l *Log) EndOffsetForEpoch(epoch int32) (foundEpoch int32, endOffset int64) {
	return l.epochs.endOffset(epoch, l.EndOffset())
}

// AssignEpoch notes that the leader of an epoch begins at startOffset. It gets
// to the disk with the next flush; after a crash recovery reads the epochs off
// the batches.
func (l *Log) AssignEpoch(epoch int32, startOffset int64) error {
	if invariants.Enabled {
		defer l.solely("AssignEpoch")()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return fmt.Errorf("assign epoch %d to %s: %w", epoch, l.key, err)
	}
	l.epochs.assign(epoch, startOffset)
	l.assertLocked()
	return nil
}

// Offline is nil unless the disk has failed that the log is on: then it is why,
// as an ErrStorage, and what the other methods say of the log means nothing.
func (l *Log) Offline() error { return l.dir().err() }

// usable is nil unless the log was closed or its disk failed.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrLogClosed
	}
	return l.dir().err()
}

// list is the present segments.
func (l *Log) list() segmentList { return *l.segments.Load() }

// publish replaces the segment list.
func (l *Log) publish(list segmentList) {
	l.assertList(list)
	l.segments.Store(&list)
}

// nowMs is the time in ms.
func (l *Log) nowMs() int64 { return l.env.now().UnixMilli() }

// deleteAt is when the files of something deleted now may go.
func (l *Log) deleteAt() time.Time {
	delay := min(l.config.Load().FileDeleteDelayMs, math.MaxInt64/int64(time.Millisecond))
	return l.env.now().Add(time.Duration(delay) * time.Millisecond)
}
