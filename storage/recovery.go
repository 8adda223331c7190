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

// found is what the data directory's files say of a log, before it is opened.
type found struct {
	clean         bool  // the last shutdown flushed everything
	reload        bool  // an fsync failed: what can be read may not be on the disk
	gapsBelow     int64 // Kafka's compaction, or nobody knows, may have left gaps between segments below
	recoveryPoint int64 // all below is durable
	start, hw     int64
	cleaned       int64 // all below was compacted
}

// load opens the log as its directory has it. What lies below the recovery
// point, and everything after a clean shutdown, is trusted and not read; the
// rest is scanned batch by batch, and the first one that is not sound ends the
// log.
func (l *Log) load(from found) error {
	files, err := l.tidyDir()
	if err != nil {
		return err
	}
	l.onDisk, l.flush.newDir = true, true // nobody remembers whether its name was synced
	if err = l.loadMetadata(); err != nil {
		return err
	}
	hasEpochs, err := l.loadEpochs(files)
	if err != nil {
		return err
	}
	if !from.clean {
		// Behind the recovery point the file may tell of batches that are gone;
		// what is scanned has its epochs in its batches. What lies below the first
		// segment is only in the object store and is not scanned.
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
	// What retention or a start from the object store has left out was committed.
	l.offsets.hw.Store(min(max(from.hw, l.LocalStartOffset()), end))
	if from.recoveryPoint > end {
		// The end was behind a gap, or the disk has lost what it had promised.
		// What comes now is not durable, whatever the checkpoint says.
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
	if !hasEpochs && len(rebuilt) < len(list) { // what was rebuilt has told its epochs
		if err = l.rebuildEpochs(); err != nil {
			return err
		}
	}
	l.epochs.truncateEnd(end)
	l.epochs.truncateStart(l.offsets.start.Load())
	if l.offsets.start.Load() == end {
		// What was there may have been lost, and the file may know only the older of its
		// epochs: a leader would take the log for one that parted from its own below start.
		l.epochs.store(nil)
	}
	err = l.loadProducers(files.snapshots, rebuilt)
	for _, s := range list {
		s.closeFiles() // most logs are quiet
	}
	if err == nil {
		l.assertLocked()
	}
	return err
}

// loadEpochs reads the epoch file; false if there is none that can be used.
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

// rebuildEpochs reads the epochs off the batches of the whole log.
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

// loadSegments opens the segments in their order and recovers those that need
// it. rebuilt receives the ones whose transaction index has to be made anew.
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
		// Not if the recovery point is exactly where the next one begins: the
		// segment may have been closed after its last flush, which did not
		// sync its indexes.
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

// smallSegment is up to how many bytes a segment without index entries has no
// index files while it is active: reading its batches costs no more.
const smallSegment = 4096

// small says that an active segment is to be opened by reading its batches.
func (s *segment) small() bool {
	return s.size.Load() <= smallSegment && s.index.count() == 0 && s.times.count() == 0
}

// openTrusted opens a segment without reading its batches, but for those
// behind the last index entry of the active one. Index files that are missing
// or cannot be are rebuilt.
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
		err := s.openTail(size, sound) // a small one may be closed without index files
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
	// Indexes below the recovery point are trusted: not these, until they are synced.
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

// closeRebuilt completes a rebuilt segment that is not the active one: its
// indexes are written and will be synced. The active one's stay in memory, as
// they were before.
func (l *Log) closeRebuilt(s *segment, next int64) error {
	if err := s.seal(); err != nil {
		return fmt.Errorf("write indexes of segment %d: %w", s.base, err)
	}
	s.end.Store(next)
	l.dir().flushes.add(l)
	return nil
}

// settleStart makes sure that there is a segment and that log start is not
// above the end: a log whose tail was lost in a crash after DeleteRecords
// begins anew at log start, and knows nothing of the producers of what was lost.
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
	if from.start > 0 { // otherwise the first append creates it: most new partitions stay empty for a while
		if err := s.createFile(); err != nil {
			return nil, err
		}
		l.flush.created++
	}
	return segmentList{s}, nil
}
