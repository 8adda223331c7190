package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// openTail prepares a segment for appends: it finds the end and the largest timestamp from the last
// index entries and the batches after them. It returns ErrCorrupt if the files contradict each
// other.
func (s *segment) openTail(size int64, sealed bool) error {
	tail, err := s.readTail(size, sealed)
	if err != nil {
		return err
	}
	s.largest.known, s.largest.at = true, tail.largest
	s.end.Store(tail.end)
	s.size.Store(size)
	s.sinceIndex = size - tail.from
	return nil
}

// segmentTail is the result of reading the last index entries and the batches after them.
type segmentTail struct {
	from    int64 // position of the last indexed batch
	end     int64
	largest TimestampOffset
}

// readTail trusts the indexes if their last entries match the batches that they name. In a sealed
// segment no batch may be newer than the last time entry; this detects lost entries.
func (s *segment) readTail(size int64, sealed bool) (tail segmentTail, err error) {
	tail = segmentTail{end: s.base, largest: TimestampOffset{Offset: s.base, Timestamp: record.NoTimestamp, LeaderEpoch: -1}}
	newest, timed, err := s.times.lastEntry()
	if err != nil {
		return tail, err
	}
	if timed {
		tail.largest = newest
	}
	e, indexed, err := s.index.last()
	if err != nil {
		return tail, err
	}
	if indexed {
		tail.from = entryPosition(e[:])
	}
	if tail.from < 0 || (indexed && tail.from >= size) {
		return tail, fmt.Errorf("%w: segment %d has %d bytes, its index goes to %d", ErrCorrupt, s.base, size, tail.from)
	}
	confirmed := !timed
	err = s.scan(tail.from, size, func(h record.Batch, pos int64) (bool, error) {
		switch {
		case indexed && pos == tail.from && h.LastOffset() != s.base+relativeOffset(e[:]):
			return false, fmt.Errorf("%w: index of segment %d says that offset %d is at %d", ErrCorrupt, s.base, s.base+relativeOffset(e[:]), pos)
		case h.BaseOffset() < tail.end:
			return false, fmt.Errorf("%w: batch at position %d of segment %d has base offset %d", ErrCorrupt, pos, s.base, h.BaseOffset())
		case sealed && newestIn(h) > newest.Timestamp && (timed || newestIn(h) >= 0):
			return false, fmt.Errorf("%w: time index of segment %d ends before offset %d", ErrCorrupt, s.base, h.LastOffset())
		}
		if timed && h.BaseOffset() <= newest.Offset && newest.Offset <= h.LastOffset() {
			confirmed = h.MaxTimestamp() == newest.Timestamp
		}
		if ts := newestIn(h); ts > tail.largest.Timestamp {
			tail.largest = TimestampOffset{Timestamp: ts, Offset: h.LastOffset(), LeaderEpoch: -1}
		}
		tail.end = h.NextOffset()
		return true, nil
	})
	if err == nil && !confirmed {
		confirmed, err = s.confirm(newest, size)
	}
	if err == nil && !confirmed {
		err = fmt.Errorf("%w: time index of segment %d says that offset %d has timestamp %d", ErrCorrupt, s.base, newest.Offset, newest.Timestamp)
	}
	return tail, err
}

// confirm reports whether a time entry matches the batch that it names.
func (s *segment) confirm(e TimestampOffset, size int64) (bool, error) {
	at, found, err := s.locate(e.Offset, size)
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return found && at.base <= e.Offset && at.maxTimestamp == e.Timestamp, err
}

// largestTimestamp returns the largest timestamp, with the last offset of the batch that first had
// it; -1 if no batch has a timestamp. For a segment found at the start it reads the indexes once
// or, if these cannot be right, every batch.
func (s *segment) largestTimestamp() (TimestampOffset, error) {
	s.largest.Lock()
	defer s.largest.Unlock()
	if s.largest.known {
		return s.largest.at, nil
	}
	size := s.size.Load()
	tail, err := s.readTail(size, true)
	if errors.Is(err, ErrCorrupt) {
		tail.largest = TimestampOffset{Offset: s.base, Timestamp: record.NoTimestamp, LeaderEpoch: -1}
		err = s.scan(0, size, func(h record.Batch, _ int64) (bool, error) {
			if ts := newestIn(h); ts > tail.largest.Timestamp {
				tail.largest = TimestampOffset{Timestamp: ts, Offset: h.LastOffset(), LeaderEpoch: -1}
			}
			return true, nil
		})
	}
	if err != nil {
		return TimestampOffset{}, err
	}
	s.largest.at, s.largest.known = tail.largest, true
	return tail.largest, nil
}

// startForTime returns an offset before which no record has a timestamp of ts or later: that of the
// time index's entry for ts, or the base.
func (s *segment) startForTime(ts int64) int64 {
	e, ok, err := s.times.lookup(ts)
	if err != nil || !ok { // the index is a hint
		return s.base
	}
	if sound, err := s.confirm(e, s.size.Load()); err != nil || !sound {
		return s.base
	}
	return e.Offset
}
