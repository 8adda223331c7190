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

// recoveryWindow is the number of bytes read at once in scans of whole segments.
const recoveryWindow = 256 << 10

var windows = sync.Pool{New: func() any { return new([recoveryWindow]byte) }}

// recoverSegment scans the i-th segment and cuts off everything from the first unsound batch on. It
// reports whether the log ends with this segment: nothing may follow a hole.
func (l *Log) recoverSegment(s *segment, files *partitionFiles, i int, from found) (ends bool, err error) {
	if from.reload {
		if err = s.file.reload(); err != nil {
			return false, err
		}
	}
	next := int64(math.MaxInt64)
	if ends = i == len(files.bases)-1; !ends {
		next = files.bases[i+1]
	}
	if err = s.dropIndexes(files.exists); err != nil {
		return false, err
	}
	bad, err := l.rebuildSegment(s, files.size(extLog, s.base), from.recoveryPoint, next)
	if err != nil {
		return false, err
	}
	end := s.end.Load()
	if !ends && (end > next || (end < next && (bad != nil || next > from.gapsBelow))) {
		// Before the cut: after a crash in between the next start finds the same damage again, and
		// not a gap that compaction might have left.
		if err = l.dropAfter(files, i, end); err != nil {
			return false, err
		}
		ends = true
	}
	if bad != nil {
		err = l.cutOff(s, files.size(extLog, s.base), bad)
	}
	s.preallocated = ends && l.config.Load().Preallocate // reserved by the process that crashed
	return ends, err
}

// cutOff truncates a segment to its sound batches. The file is synced, so that a second crash
// cannot bring the rest back after new batches.
func (l *Log) cutOff(s *segment, size int64, bad error) error {
	good := s.size.Load()
	l.logger.Warn("cut off what is no sound batch", segmentAttr(s), offsetAttr(s.end.Load()), slog.Int64("bytes", size-good), errorAttr(bad))
	l.env.metrics.truncatedBytes.Add(float64(size - good))
	f, err := s.file.acquire(true)
	if err != nil {
		return err
	}
	defer s.file.release()
	return errors.Join(f.Truncate(good), f.Sync())
}

// dropAfter removes the segments after the i-th. The log ends before them, so they hold no record
// that was durable and acknowledged.
func (l *Log) dropAfter(files *partitionFiles, i int, end int64) error {
	for _, base := range files.bases[i+1:] {
		l.logger.Warn("remove segment that lies behind the end of the log",
			slog.Int64("segment", base), slog.Int64("end", end), slog.Int64("bytes", files.size(extLog, base)))
		l.env.metrics.truncatedBytes.Add(float64(files.size(extLog, base)))
		for _, ext := range []string{extIndex, extTimeIndex, extTxnIndex, extLog} {
			if files.size(ext, base) < 0 {
				continue
			}
			if err := l.env.fs.Remove(filepath.Join(l.path(), fileName(base, ext))); err != nil {
				return err
			}
		}
	}
	return l.env.fs.SyncDir(l.path())
}

// dropIndexes drops all index entries, also those in existing files.
func (s *segment) dropIndexes(exists func(ext string, base int64) bool) error {
	for _, old := range []struct {
		ext  string
		drop func() error
	}{{extIndex, s.index.reset}, {extTimeIndex, s.times.reset}, {extTxnIndex, s.txns.discard}} {
		if !exists(old.ext, s.base) {
			continue // the file was not opened either
		}
		if err := old.drop(); err != nil {
			return err
		}
	}
	return nil
}

// rebuildSegment scans a segment and rebuilds its indexes in memory; they were dropped before.
// Batches that end at or after crcFrom are read and checked in full, others by their headers.
// Batches from next on belong to another segment and are unsound here. The segment ends before the
// first unsound batch, and bad says what is wrong with it. The file is not changed.
func (l *Log) rebuildSegment(s *segment, size, crcFrom, next int64) (bad, err error) {
	l.env.metrics.rebuiltIndexes.Inc()
	s.largest.known, s.largest.at.Timestamp = true, record.NoTimestamp
	s.firstTime, s.firstKnown, s.sinceIndex = record.NoTimestamp, false, 0
	s.synced, s.indexDurable = 0, false
	f, err := s.file.acquire(true)
	if err != nil {
		return nil, err
	}
	defer s.file.release()
	good, end, bad := l.walk(s, f, size, crcFrom, next)
	if bad != nil && !errors.Is(bad, ErrCorrupt) {
		return nil, bad
	}
	s.size.Store(good)
	s.end.Store(end)
	return bad, nil
}

// walk enters every sound batch into the indexes and the epochs. It returns the position and the
// offset at which it stopped, and the reason unless that is the end of the file.
func (l *Log) walk(s *segment, f vfs.File, size, crcFrom, next int64) (good, end int64, bad error) {
	window := windows.Get().(*[recoveryWindow]byte)
	defer windows.Put(window)
	sc := scanBatches(f, 0, size, window[:])
	var header [record.HeaderSize]byte // a copy, because the window moves while a batch is verified
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
		case h.BaseOffset() >= next:
			err = fmt.Errorf("%w: batch at position %d has base offset %d, where the next segment begins at %d", ErrCorrupt, pos, h.BaseOffset(), next)
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

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
