package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// found is what the data directory's files say about a log before it is opened.
type found struct {
	clean  bool // the last shutdown flushed everything
	reload bool // an fsync failed: bytes that can be read may not be on the disk
	// gapsBelow: gaps between segments below this offset are no data loss, because Kafka's
	// compaction leaves them. It is MaxInt64 if the recovery checkpoint is missing.
	gapsBelow     int64
	recoveryPoint int64 // all below is durable
	start, hw     int64
	cleaned       int64 // all below was compacted
}

// load opens the log from its directory. After a clean shutdown all segments are trusted, otherwise
// those wholly below the recovery point: their batches are not read. The others are scanned batch
// by batch, and the log ends at the first batch that is not sound.
func (l *Log) load(from found) error {
	files, err := l.tidyDir()
	if err != nil {
		return err
	}
	l.onDisk, l.flush.newDir = true, true // it is unknown whether its name was synced
	if err = l.loadMetadata(); err != nil {
		return err
	}
	hasEpochs, err := l.loadEpochs(files)
	if err != nil {
		return err
	}
	if !from.clean {
		// Above the recovery point the file may have epochs of batches that are gone; scanned
		// segments provide their epochs themselves. Segments below the first local one are only in
		// the object store and are not scanned: their epochs stay.
		known := from.recoveryPoint
		if len(files.bases) > 0 {
			known = max(known, files.bases[0])
		}
		l.epochs.truncateEnd(known)
	}
	rebuilt := map[*segment]bool{}
	list, err := l.loadSegments(files, from, rebuilt)
	if err != nil {
		return err
	}
	list, err = l.settleStart(list, files, from)
	if err != nil {
		return err
	}
	l.publish(list)
	end := list.active().end.Load()
	l.offsets.end.Store(end)
	l.offsets.start.Store(from.start)
	l.loadedStart(from.start)
	l.cleaning.upTo.Store(min(from.cleaned, end))
	if !l.config.Load().RemoteStorageEnable {
		l.offsets.start.Store(max(from.start, list[0].base))
	}
	if l.offsets.start.Load() > from.start {
		l.dir().checkpointSoon()
	}
	// Records that retention or a start from the object store has left out were committed.
	l.offsets.hw.Store(min(max(from.hw, l.LocalStartOffset()), end))
	if from.recoveryPoint > end {
		// The end was above a gap, or the disk has lost durable records. New records at these
		// offsets are neither durable nor compacted, so the checkpoints are lowered, durably,
		// before any is appended (S20). The manager does the same for the high watermark.
		for _, name := range []string{recoveryFile, cleanerFile} {
			if err = l.dir().lowerCheckpoint(l.env.fs, name, l.key, end); err != nil {
				return err
			}
		}
	}
	if from.clean {
		from.recoveryPoint = end
	}
	l.offsets.flushed.Store(min(from.recoveryPoint, end))
	l.updateRecoveryLocked()
	if !hasEpochs && len(rebuilt) < len(list) { // rebuilding a segment has entered its epochs
		if err = l.rebuildEpochs(); err != nil {
			return err
		}
	}
	l.epochs.truncateEnd(end)
	l.epochs.truncateStart(l.offsets.start.Load())
	if l.offsets.start.Load() == end {
		// Records may have been lost, and the file may have only the older of their epochs. A
		// leader would then conclude that this log diverged from its own below the log start.
		l.epochs.store(nil)
	}
	err = l.loadProducers(files.snapshots, rebuilt)
	for _, s := range list {
		s.closeFiles() // most logs are quiet; reads open the files again
	}
	if err == nil {
		l.assertLocked()
	}
	return err
}

// loadEpochs reads the epoch file; false if it is missing or damaged.
func (l *Log) loadEpochs(files *partitionFiles) (bool, error) {
	if !files.epochs {
		return false, nil
	}
	content, err := vfs.ReadFile(l.env.fs, filepath.Join(l.path(), epochFile), maxCheckpoint)
	if err != nil {
		return false, err
	}
	entries, err := ParseEpochs(content)
	if err != nil {
		l.logger.Warn("rebuild damaged file", slog.String("file", epochFile), errorAttr(err))
		return false, nil
	}
	l.epochs.store(entries)
	l.epochs.saved = entries
	return true, nil
}

// rebuildEpochs reads the epochs from the batches of the whole log.
func (l *Log) rebuildEpochs() error {
	l.epochs.store(nil)
	for _, s := range l.list() {
		err := s.scan(0, s.size.Load(), func(h record.Batch, _ int64) (bool, error) {
			if h.LeaderEpoch() > l.epochs.latest() {
				l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
			}
			return true, nil
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	return nil
}

// loadSegments opens the segments in order and recovers those that need it. It adds to rebuilt the
// segments whose transaction index has to be rebuilt. It runs before the log is published.
func (l *Log) loadSegments(files *partitionFiles, from found, rebuilt map[*segment]bool) (segmentList, error) {
	var list segmentList
	for i, base := range files.bases {
		s := l.env.newSegment(l.path(), base, l.config.Load(), l.env.now())
		last := i == len(files.bases)-1
		next := int64(math.MaxInt64)
		if !last {
			next = files.bases[i+1]
		}
		size := files.size(extLog, base)
		// Not if the recovery point is exactly the next segment's base: this segment may have been
		// closed after its last flush, which did not sync its indexes.
		if from.clean || next < from.recoveryPoint {
			if err := l.openTrusted(s, files, size, next, rebuilt); err != nil {
				return nil, fmt.Errorf("open segment %d: %w", base, err)
			}
			list = append(list, s)
			continue
		}
		rebuilt[s] = true
		ends, err := l.recoverSegment(s, files, i, from)
		if err != nil {
			return nil, fmt.Errorf("recover segment %d: %w", base, err)
		}
		list = append(list, s)
		if ends {
			break
		}
		if err = l.closeRebuilt(s, next); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// smallSegment is the size in bytes up to which an active segment without index entries gets no
// index files: reading its batches at the start costs no more.
const smallSegment = 4096

// small reports whether an active segment can be opened by reading its batches.
func (s *segment) small() bool {
	return s.size.Load() <= smallSegment && s.index.count() == 0 && s.times.count() == 0
}

// openTrusted opens a segment without reading its batches. Only of the active one it reads those
// after the last index entry. Index files that are missing or implausible are rebuilt.
func (l *Log) openTrusted(s *segment, files *partitionFiles, size, next int64, rebuilt map[*segment]bool) error {
	active := next == math.MaxInt64
	s.synced, s.indexDurable = size, !active
	index, times := files.size(extIndex, s.base), files.size(extTimeIndex, s.base)
	sound := index >= 0 && times >= 0 && index%offsetEntrySize == 0 && times%timeEntrySize == 0
	if txns := files.size(extTxnIndex, s.base); txns > 0 {
		s.txns.mu.inFile = txns / abortedTxnSize
		sound = sound && txns%abortedTxnSize == 0 && s.txns.check(s.base, next) == nil
	}
	if sound {
		s.index.init(cachedFileInit{&l.env.files, &s.names, extIndex}, offsetEntrySize, int(index/offsetEntrySize))
		s.times.init(cachedFileInit{&l.env.files, &s.names, extTimeIndex}, timeEntrySize, int(times/timeEntrySize))
	}
	switch {
	case active && ((sound && size > 0) || (size <= smallSegment && index <= 0 && times <= 0)):
		err := s.openTail(size, sound) // a small segment may have been closed without index files
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		l.logger.Warn("recover active segment, which is not as a clean shutdown leaves it", segmentAttr(s), errorAttr(err))
	case sound && !active:
		s.largest.known = false
		s.size.Store(size)
		s.end.Store(next)
		return nil
	default:
		l.logger.Warn("rebuild missing or damaged index", segmentAttr(s))
	}
	rebuilt[s] = true
	if err := s.dropIndexes(files.exists); err != nil {
		return err
	}
	if active {
		bad, err := l.rebuildSegment(s, size, s.base, next)
		if err == nil && bad != nil {
			err = l.cutOff(s, size, bad)
		}
		s.preallocated = l.config.Load().Preallocate
		return err
	}
	// Indexes below the recovery point are trusted; the rebuilt ones are not durable until the next
	// flush.
	if err := l.dir().lowerCheckpoint(l.env.fs, recoveryFile, l.key, s.base); err != nil {
		return err
	}
	bad, err := l.rebuildSegment(s, size, math.MaxInt64, next)
	if err != nil {
		return err
	}
	if bad != nil {
		l.logger.Error("segment is damaged below the recovery point: reading behind it will fail",
			segmentAttr(s), offsetAttr(s.end.Load()), errorAttr(bad))
	}
	s.size.Store(size)
	return l.closeRebuilt(s, next)
}

// closeRebuilt completes a rebuilt segment that is not the active one: its indexes are written now
// and synced by a flush. The indexes of the active segment stay in memory, as during appends.
func (l *Log) closeRebuilt(s *segment, next int64) error {
	if err := s.seal(); err != nil {
		return fmt.Errorf("write indexes of segment %d: %w", s.base, err)
	}
	s.end.Store(next)
	l.dir().flushes.add(l)
	return nil
}

// settleStart ensures that there is a segment and that log start is not above the end. A log whose
// tail was lost in a crash after DeleteRecords restarts empty at its log start, without the
// producers of the lost records.
func (l *Log) settleStart(list segmentList, files *partitionFiles, from found) (segmentList, error) {
	if len(list) > 0 && list.active().end.Load() >= from.start {
		return list, nil
	}
	for _, s := range list {
		l.logger.Warn("remove segment that lies below the start of the log", segmentAttr(s), slog.Int64("start", from.start))
		if err := l.discardLocked(s); err != nil {
			return nil, err
		}
	}
	for _, offset := range files.snapshots {
		l.removeSnapshot(offset)
	}
	files.snapshots = nil
	s := l.env.newSegment(l.path(), from.start, l.config.Load(), l.env.now())
	// At 0 the first append creates the file, because most new partitions stay empty for a while.
	// Elsewhere the file must exist, because it is the record of the log's end.
	if from.start > 0 {
		if err := s.createFile(); err != nil {
			return nil, err
		}
		l.flush.created++
	}
	return segmentList{s}, nil
}
