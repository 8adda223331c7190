package storage

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"sync"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// found is what the data directory's files say of a log, before it is opened.
type found struct {
	clean         bool  // the last shutdown flushed everything
	gapsBelow     int64 // Kafka's compaction, or nobody knows, may have left gaps between segments below
	recoveryPoint int64 // all below is durable
	start, hw     int64
	cleaned       int64 // all below was compacted
}

// recoveryWindow is how much is read at once when whole segments are scanned.
const recoveryWindow = 256 << 10

var windows = sync.Pool{New: func() any { return new([recoveryWindow]byte) }}

// load opens the log as its directory has it. What lies below the recovery
// point, and everything after a clean shutdown, is trusted and not read; the
// rest is scanned batch by batch, and the first one that is not sound ends the
// log.
func (l *Log) load(from found) error {
	files, err := l.tidyDir()
	if err != nil {
		return err
	}
	l.flush.newDir = true // nobody remembers whether it was synced
	if err = l.loadMetadata(); err != nil {
		return err
	}
	hasEpochs, err := l.loadEpochs()
	if err != nil {
		return err
	}
	if !from.clean {
		// Behind the recovery point the file may tell of batches that are gone;
		// what is scanned has its epochs in its batches.
		l.epochs.truncateEnd(from.recoveryPoint)
	}
	rebuilt := map[*segment]bool{}
	list, err := l.loadSegments(files, from, rebuilt)
	if err != nil {
		return err
	}
	list, err = l.settleStart(list, from)
	if err != nil {
		return err
	}
	l.publish(list)
	end := list.active().end.Load()
	l.offsets.end.Store(end)
	l.offsets.start.Store(from.start)
	l.cleaning.upTo.Store(from.cleaned)
	if !l.config.Load().RemoteStorageEnable {
		l.offsets.start.Store(max(from.start, list[0].base))
	}
	l.offsets.hw.Store(min(max(from.hw, l.offsets.start.Load()), end))
	if from.recoveryPoint > end {
		// The end was behind a gap, or the disk has lost what it had promised.
		// What comes now is not durable, whatever the checkpoint says.
		if err = l.dir.lowerCheckpoint(l.env.fs, recoveryFile, l.key, end); err != nil {
			return err
		}
	}
	if from.clean {
		from.recoveryPoint = end
	}
	l.offsets.flushed.Store(min(from.recoveryPoint, end))
	l.updateRecoveryLocked()
	if !hasEpochs {
		if err = l.rebuildEpochs(); err != nil {
			return err
		}
	}
	l.epochs.truncateEnd(end)
	l.epochs.truncateStart(l.offsets.start.Load())
	return l.loadProducers(files.snapshots, rebuilt)
}

// loadEpochs reads the epoch file; false if there is none that can be used.
func (l *Log) loadEpochs() (bool, error) {
	content, err := vfs.ReadFile(l.env.fs, filepath.Join(l.path, epochFile), maxCheckpoint)
	if err != nil {
		return false, ignoreNotExist(err)
	}
	entries, err := ParseEpochs(content)
	if err != nil {
		l.logger.Warn("rebuild damaged file", slog.String("file", epochFile), errorAttr(err))
		return false, nil
	}
	l.epochs.entries.Store(&entries)
	return true, nil
}

// rebuildEpochs reads the epochs off the batches of the whole log.
func (l *Log) rebuildEpochs() error {
	l.epochs.store(nil) // a change: the file is to be written
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
	if len(l.epochs.load()) == 0 {
		l.epochs.saved = l.epochs.changes // nothing to save in a log without batches
	}
	return nil
}

// loadSegments opens the segments in their order and recovers those that need
// it. rebuilt receives the ones whose transaction index has to be made anew.
func (l *Log) loadSegments(files *partitionFiles, from found, rebuilt map[*segment]bool) (segmentList, error) {
	var list segmentList
	for i, base := range files.bases {
		s := l.env.newSegment(l.path, base, l.config.Load(), l.env.now())
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
		cut, err := l.rebuildSegment(s, size, from.recoveryPoint, true)
		if err != nil {
			return nil, fmt.Errorf("recover segment %d: %w", base, err)
		}
		list = append(list, s)
		end := s.end.Load()
		if !last && (cut || end > next || (end < next && next > from.gapsBelow)) {
			return list, l.dropAfter(files, i, end)
		}
		if !last {
			s.end.Store(next)
			l.env.flushes.add(l)
		}
	}
	return list, nil
}

// dropAfter removes the segments after the i-th: the log ends before them, so
// that they hold nothing that was ever durable and acknowledged.
func (l *Log) dropAfter(files *partitionFiles, i int, end int64) error {
	for _, base := range files.bases[i+1:] {
		l.logger.Warn("remove segment that lies behind the end of the log",
			slog.Int64("segment", base), slog.Int64("end", end), slog.Int64("bytes", files.size(extLog, base)))
		l.env.metrics.truncatedBytes.Add(float64(files.size(extLog, base)))
		for _, ext := range []string{extIndex, extTimeIndex, extTxnIndex, extLog} {
			if files.size(ext, base) < 0 {
				continue
			}
			if err := l.env.fs.Remove(filepath.Join(l.path, fileName(base, ext))); err != nil {
				return err
			}
		}
	}
	return l.env.fs.SyncDir(l.path)
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
		if sound = sound && txns%abortedTxnSize == 0; sound {
			s.txns.mu.inFile = txns / abortedTxnSize
		}
	}
	if sound {
		s.index.init(cachedFileInit{&l.env.files, &s.names, extIndex}, offsetEntrySize, int(index/offsetEntrySize))
		s.times.init(cachedFileInit{&l.env.files, &s.names, extTimeIndex}, timeEntrySize, int(times/timeEntrySize))
	}
	switch {
	case active && ((sound && size > 0) || (size == 0 && index <= 0 && times <= 0)):
		err := s.openTail(size)
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		l.logger.Warn("recover active segment, which is not as a clean shutdown leaves it", segmentAttr(s), errorAttr(err))
	case sound:
		s.largest.known = false
		s.size.Store(size)
		s.end.Store(next)
		return nil
	default:
		l.logger.Warn("rebuild missing or damaged index", segmentAttr(s))
	}
	rebuilt[s] = true
	crcFrom := int64(math.MaxInt64)
	if active {
		crcFrom = s.base
	}
	if _, err := l.rebuildSegment(s, size, crcFrom, active); err != nil {
		return err
	}
	if !active {
		s.size.Store(size)
		s.end.Store(next)
		l.env.flushes.add(l)
	}
	return nil
}

// rebuildSegment walks over a segment and makes its indexes anew. Batches that
// end at or after crcFrom are read and checked in full, others by their
// headers. With mayCut the first batch that is not sound, and what follows, is
// cut off; without, what follows is left out of the indexes.
func (l *Log) rebuildSegment(s *segment, size, crcFrom int64, mayCut bool) (cut bool, err error) {
	l.env.metrics.rebuiltIndexes.Inc()
	for _, f := range []error{s.index.reset(), s.times.reset(), s.txns.discard()} {
		if f != nil {
			return false, f
		}
	}
	s.largest.known, s.largest.at.Timestamp = true, record.NoTimestamp
	s.firstTime, s.sinceIndex = record.NoTimestamp, 0
	s.synced, s.indexDurable = 0, false
	f, err := s.file.acquire(true)
	if err != nil {
		return false, err
	}
	defer s.file.release()
	good, end, bad := l.walk(s, f, size, crcFrom)
	if bad != nil && !errors.Is(bad, ErrCorrupt) {
		return false, bad
	}
	if bad != nil && mayCut {
		l.logger.Warn("cut off what is no sound batch", segmentAttr(s), offsetAttr(end), slog.Int64("bytes", size-good), errorAttr(bad))
		l.env.metrics.truncatedBytes.Add(float64(size - good))
		// Synced, so that a second crash cannot bring it back behind new batches.
		if err = errors.Join(f.Truncate(good), f.Sync()); err != nil {
			return true, err
		}
	} else if bad != nil {
		l.logger.Error("segment is damaged below the recovery point: reading behind it will fail", segmentAttr(s), offsetAttr(end), errorAttr(bad))
	}
	s.size.Store(good)
	s.end.Store(end)
	return bad != nil, s.seal()
}

// walk enters every sound batch into the indexes and the epochs. It returns
// how far it came and, unless that is the whole file, why.
func (l *Log) walk(s *segment, f vfs.File, size, crcFrom int64) (good, end int64, bad error) {
	window := windows.Get().(*[recoveryWindow]byte)
	defer windows.Put(window)
	sc := scanBatches(f, 0, size, window[:])
	var header [record.HeaderSize]byte // the window moves while a batch is verified
	h := record.Batch(header[:])
	end = s.base
	for {
		seen, pos, err := sc.next()
		if err != nil {
			return pos, end, ignoreEOF(err)
		}
		copy(header[:], seen)
		switch {
		case h.BaseOffset() < end:
			err = fmt.Errorf("%w: batch at position %d has base offset %d, expected at least %d", ErrCorrupt, pos, h.BaseOffset(), end)
		case h.LastOffset()-s.base > math.MaxInt32:
			err = fmt.Errorf("%w: batch at position %d has offset %d, too far from the segment's base", ErrCorrupt, pos, h.LastOffset())
		case h.LastOffset() >= crcFrom:
			err = sc.verify(h, pos)
		}
		if err != nil {
			return pos, end, err
		}
		s.note(h, pos)
		if h.LeaderEpoch() > l.epochs.latest() {
			l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
		}
		end = h.NextOffset()
	}
}

// settleStart makes sure that there is a segment and that log start is not
// above the end: a log whose tail was lost in a crash after DeleteRecords
// begins anew at log start.
func (l *Log) settleStart(list segmentList, from found) (segmentList, error) {
	if len(list) > 0 && list.active().end.Load() >= from.start {
		return list, nil
	}
	for _, s := range list {
		l.logger.Warn("remove segment that lies below the start of the log", segmentAttr(s), slog.Int64("start", from.start))
		l.discardLocked(s)
	}
	s := l.env.newSegment(l.path, from.start, l.config.Load(), l.env.now())
	if from.start > 0 { // otherwise the first append creates it: most new partitions stay empty for a while
		if err := s.createFile(); err != nil {
			return nil, err
		}
		l.flush.created++
	}
	return segmentList{s}, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
