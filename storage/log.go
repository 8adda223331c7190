package storage

import (
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
)

// Log is one partition's local log. Reads take no lock and may run concurrently with everything.
// Append, AppendAsFollower, Truncate, TruncateFully, StartFromRemote, Roll and AssignEpoch decide
// what the log holds. Only one of these calls may run at a time, and the caller must ensure that
// (S19): the log's own lock only prevents corruption.
type Log struct {
	env   *env
	place atomic.Pointer[place]
	// arriving is the directory that the log is about to move to; nil if it is not moving. From
	// then on the checkpoints of both directories have the log.
	arriving atomic.Pointer[dataDir]
	key      partitionKey
	topicID  atomic.Pointer[[16]byte]
	// supersedes lists the directories that were offline when the log was made (rivals.go). It
	// changes only while the manager opens.
	supersedes [][16]byte
	logger     logLogger
	config     atomic.Pointer[Config]
	closed     atomic.Bool

	writer   invariants.Sole
	segments atomic.Pointer[segmentList]
	offsets  logOffsets
	// startCheckpoint tracks the value of offsets.start that survives a crash.
	startCheckpoint checkpointedStart
	epochs          epochCache

	// mu serializes all changes of the log: segments, offsets (except the high watermark),
	// producers, epochs. Appends do not hold it over an fsync of data; doc.go lists the rare
	// operations that do.
	mu        invariants.Mutex[rankLog]
	producers producerState
	// snapshotAt is the offset of the newest snapshot: a start replays the batches after it.
	snapshotAt int64
	// onDisk: the directory exists. A new log's is made by the first write.
	onDisk   bool
	flush    flushState
	cleaning cleaningState

	// stable guards the state from which the last stable offset follows: producers.open, whose
	// changes also need mu, and producers.unreplicated. It is never held over I/O, so that the high
	// watermark advances while an append hangs with mu held.
	stable invariants.Mutex[rankStable]
}

// place is where a log's files are. It changes at the end of a move, under the log's lock, its
// flush token and its cleaning token. A holder of any of the three may rely on dir and path.
type place struct {
	dir  *dataDir
	path string
}

// dir returns the data directory that the log is in.
func (l *Log) dir() *dataDir { return l.place.Load().dir }

// DirectoryID returns the directory.id of the data directory that the log is in.
func (l *Log) DirectoryID() [16]byte { return l.dir().id }

// path returns the log's own directory.
func (l *Log) path() string { return l.place.Load().path }

// logOffsets are the offsets that readers load, in the order of S15. The order holds at every
// moment: the smaller offset is lowered first and raised last. All except hw, remoteEnd and
// unstable change under Log.mu only.
type logOffsets struct {
	start     atomic.Int64
	hw        atomic.Int64
	end       atomic.Int64
	flushed   atomic.Int64 // everything below is durable
	remoteEnd atomic.Int64 // everything below is in the object store; -1: unknown
	unstable  atomic.Int64 // first offset of an undecided transaction; -1: none
	recovery  atomic.Int64 // where recovery has to begin after a crash
}

// segmentList is the log's segments in ascending order, the last one active. A list is never
// changed, only replaced. A reader that holds one keeps seeing the log as it was, and compaction
// can replace several segments by one.
type segmentList []*segment

func (s segmentList) active() *segment { return s[len(s)-1] }

// find returns the index of the last segment that starts at or before offset; -1 if there is none.
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

// Topic returns the name of the topic.
func (l *Log) Topic() string { return l.key.topic }

// Partition returns the number of the partition.
func (l *Log) Partition() int32 { return l.key.partition }

// TopicID returns the topic's id; it is all zero if the directory has none.
func (l *Log) TopicID() [16]byte { return *l.topicID.Load() }

// Config returns the settings in force.
func (l *Log) Config() Config { return *l.config.Load() }

// SetConfig replaces the settings. They apply to everything that happens afterwards.
func (l *Log) SetConfig(c Config) {
	if c != l.Config() {
		l.config.Store(l.env.share(c))
	}
}

// StartOffset returns the first offset of the log over both tiers.
func (l *Log) StartOffset() int64 { return l.offsets.start.Load() }

// LocalStartOffset returns the first offset on this disk.
func (l *Log) LocalStartOffset() int64 {
	return max((*l.segments.Load())[0].base, l.offsets.start.Load())
}

// EndOffset returns the offset of the next record.
func (l *Log) EndOffset() int64 { return l.offsets.end.Load() }

// FlushedOffset returns the end of the part that is durable on this disk, exclusive.
func (l *Log) FlushedOffset() int64 { return l.offsets.flushed.Load() }

// HighWatermark returns the end of the committed records, exclusive.
func (l *Log) HighWatermark() int64 { return l.offsets.hw.Load() }

// SetHighWatermark advances the high watermark, at most to the end. A lower value has no effect. It
// does not wait for an append. It must not run concurrently with a truncation, which lowers the
// high watermark and then the end.
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
	// It may have passed the marker of a decided transaction.
	if l.offsets.unstable.Load() >= 0 {
		l.updateUnstable()
	}
}

// LastStableOffset returns the offset below which all records are committed and all transactions
// decided.
func (l *Log) LastStableOffset() int64 {
	// In this order. A transaction's unstable offset is stored before the high watermark can pass
	// its first record, and cleared only after the high watermark has passed its marker. So without
	// an unstable offset every transaction below hw is decided.
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

// updateUnstableLocked recomputes the unstable offset. The caller holds stable.
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

// RemoteEndOffset returns the end of the part that is in the object store according to a committed
// manifest; -1 while that is unknown.
func (l *Log) RemoteEndOffset() int64 { return l.offsets.remoteEnd.Load() }

// SetRemoteEndOffset records that a committed manifest names everything below offset in the object
// store. With remote storage enabled, retention deletes local segments only below this offset or
// below the log start (S5).
func (l *Log) SetRemoteEndOffset(offset int64) { l.offsets.remoteEnd.Store(offset) }

// Size returns the size of the local segments in bytes.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.size.Load()
	}
	return n
}

// SizeFrom returns the size, in bytes, of the local segments that begin at or after offset. With
// the end of the object store's part as offset, this is what is not uploaded yet.
func (l *Log) SizeFrom(offset int64) int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		if s.base >= offset {
			n += s.size.Load()
		}
	}
	return n
}

// LatestEpoch returns the newest leader epoch that the log knows, or UndefinedEpoch.
func (l *Log) LatestEpoch() int32 { return l.epochs.latest() }

// EpochEntries returns all leader epochs that the log knows. The slice must not be changed.
func (l *Log) EpochEntries() []EpochEntry { return l.epochs.load() }

// EndOffsetForEpoch returns the largest known epoch up to the requested one, and the offset at
// which it ends. Both are undefined for an epoch newer than all known ones, and if no epoch is
// known.
func (l *Log) EndOffsetForEpoch(epoch int32) (foundEpoch int32, endOffset int64) {
	return l.epochs.endOffset(epoch, l.EndOffset())
}

// AssignEpoch records that the leader of an epoch begins at startOffset. The first flush after a
// batch of that epoch writes it to disk. After a crash before that, recovery reads the epochs off
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

// Offline returns nil unless the log's disk has failed. Then it returns the cause, as an
// ErrStorage, and the results of the other methods mean nothing.
func (l *Log) Offline() error { return l.dir().err() }

// usable returns an error if the log was closed or its disk failed.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrLogClosed
	}
	return l.dir().err()
}

// list returns the current segments.
func (l *Log) list() segmentList { return *l.segments.Load() }

// publish replaces the segment list.
func (l *Log) publish(list segmentList) {
	l.assertList(list)
	l.segments.Store(&list)
}

// nowMs returns the time in unix ms.
func (l *Log) nowMs() int64 { return l.env.now().UnixMilli() }

// deleteAt returns when the files of something deleted now may be removed.
func (l *Log) deleteAt() time.Time {
	delay := min(l.config.Load().FileDeleteDelayMs, math.MaxInt64/int64(time.Millisecond))
	return l.env.now().Add(time.Duration(delay) * time.Millisecond)
}
