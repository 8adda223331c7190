package storage

import (
	"fmt"

	"github.com/varvelog/varve/record"
)

// OffsetForTimestamp finds the first record of the local log whose timestamp is
// ts or later: its offset and timestamp, and the leader epoch of its batch.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) {
	start := l.LocalStartOffset()
	return l.search(func(s *segment) (TimestampOffset, bool, error) {
		largest, err := s.largestTimestamp()
		if err != nil || largest.Timestamp < ts {
			return TimestampOffset{}, false, err
		}
		return s.firstRecord(max(s.startForTime(ts), start), func(b record.Batch) bool { return b.MaxTimestamp() >= ts && b.LastOffset() >= start },
			func(r record.Record) bool { return r.Timestamp >= ts && r.Offset >= start })
	})
}

// MaxTimestamp finds the first record with the largest timestamp in the local log.
func (l *Log) MaxTimestamp() (TimestampOffset, bool, error) {
	start := l.LocalStartOffset()
	newest := TimestampOffset{Timestamp: record.NoTimestamp}
	_, _, err := l.search(func(s *segment) (TimestampOffset, bool, error) {
		largest, err := s.largestFrom(start)
		if err == nil && largest.Timestamp > newest.Timestamp {
			newest = largest
		}
		return TimestampOffset{}, false, err
	})
	if err != nil || newest.Timestamp < 0 {
		return TimestampOffset{}, false, err
	}
	return l.search(func(s *segment) (TimestampOffset, bool, error) {
		if newest.Offset < s.base || newest.Offset >= s.end.Load() {
			return TimestampOffset{}, false, nil
		}
		return s.firstRecord(newest.Offset, func(record.Batch) bool { return true },
			func(r record.Record) bool { return r.Timestamp >= newest.Timestamp && r.Offset >= start })
	})
}

// largestFrom is the largest timestamp of the records from start on, and the
// last offset of the batch that first has it. Only where log start lies within
// the segment does it take more than the index.
func (s *segment) largestFrom(start int64) (TimestampOffset, error) {
	if s.base >= start {
		return s.largestTimestamp()
	}
	largest := TimestampOffset{Timestamp: record.NoTimestamp}
	loc, found, err := s.locate(start, s.size.Load())
	if err != nil || !found {
		return largest, err
	}
	err = s.scan(loc.pos, s.size.Load(), func(h record.Batch, pos int64) (bool, error) {
		at := TimestampOffset{Timestamp: newestIn(h), Offset: h.LastOffset()}
		if h.BaseOffset() < start {
			b, readErr := s.readBatch(pos, int64(h.Size()))
			if readErr != nil {
				return false, readErr
			}
			at.Timestamp = record.NoTimestamp
			for r, err := range b.Records() {
				if err != nil {
					return false, fmt.Errorf("%w: batch at offset %d: %w", ErrCorrupt, b.BaseOffset(), err)
				}
				if r.Offset >= start {
					at.Timestamp = max(at.Timestamp, r.Timestamp)
				}
			}
		}
		if at.Timestamp > largest.Timestamp {
			largest = at
		}
		return true, nil
	})
	return largest, err
}

// search asks the segments in their order until one answers.
func (l *Log) search(ask func(s *segment) (TimestampOffset, bool, error)) (TimestampOffset, bool, error) {
	for {
		found, ok, gone, err := l.searchOnce(ask)
		if gone && l.usable() == nil {
			continue
		}
		if err != nil {
			return TimestampOffset{}, false, fmt.Errorf("look up time in %s: %w", l.key, classify(err))
		}
		return found, ok, nil
	}
}

func (l *Log) searchOnce(ask func(s *segment) (TimestampOffset, bool, error)) (found TimestampOffset, ok, gone bool, err error) {
	if err = l.usable(); err != nil {
		return found, false, false, err
	}
	for _, s := range l.list() {
		if !s.acquire() {
			return found, false, true, nil
		}
		found, ok, err = ask(s)
		s.release()
		if err != nil && s.doomed.Load() {
			return found, false, true, nil
		}
		if err != nil || ok {
			return found, ok, false, err
		}
	}
	return found, false, false, nil
}

// firstRecord finds the first record that is wanted, among the batches from the
// one that holds offset from on. Only batches that may hold it are read whole.
func (s *segment) firstRecord(from int64, maybe func(record.Batch) bool, want func(record.Record) bool) (at TimestampOffset, ok bool, err error) {
	size := s.size.Load()
	loc, found, err := s.locate(from, size)
	if err != nil || !found {
		return at, false, err
	}
	err = s.scan(loc.pos, size, func(h record.Batch, pos int64) (bool, error) {
		if !maybe(h) {
			return true, nil
		}
		b, readErr := s.readBatch(pos, int64(h.Size()))
		if readErr != nil {
			return false, readErr
		}
		for r, err := range b.Records() {
			if err != nil {
				return false, fmt.Errorf("%w: batch at offset %d: %w", ErrCorrupt, b.BaseOffset(), err)
			}
			if want(r) {
				at, ok = TimestampOffset{Offset: r.Offset, Timestamp: r.Timestamp, LeaderEpoch: b.LeaderEpoch()}, true
				return false, nil
			}
		}
		return true, nil
	})
	return at, ok, err
}

// AbortedTransactions lists the aborted transactions that overlap the offsets
// from (inclusive) to upTo (exclusive), which a read_committed reader passes over.
func (l *Log) AbortedTransactions(from, upTo int64) ([]AbortedTxn, error) {
	var txns []AbortedTxn
	_, _, err := l.search(func(s *segment) (TimestampOffset, bool, error) {
		if s.end.Load() <= from {
			return TimestampOffset{}, false, nil
		}
		entries, err := s.txns.entries()
		if err != nil {
			return TimestampOffset{}, false, err
		}
		for _, t := range entries {
			if n := len(txns); n > 0 && t.LastOffset <= txns[n-1].LastOffset {
				continue // listed before the search began again
			}
			if t.LastStableOffset >= upTo && t.FirstOffset >= upTo {
				return TimestampOffset{}, true, nil // no later one begins below upTo
			}
			if t.LastOffset >= from && t.FirstOffset < upTo {
				txns = append(txns, t)
			}
		}
		return TimestampOffset{}, false, nil
	})
	return txns, err
}
