package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// OffsetForTimestamp finds the first record of the local log with a timestamp of at least ts. It
// returns the record's offset and timestamp and the leader epoch of its batch.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) {
	start := l.LocalStartOffset()
	return l.search(func(s *segment) (TimestampOffset, bool, error) {
		largest, err := s.largestTimestamp()
		if err != nil || largest.Timestamp < ts {
			return TimestampOffset{}, false, err
		}
		return s.firstRecord(max(s.startForTime(ts), start), func(b record.Batch) bool { return b.MaxTimestamp() >= ts && b.LastOffset() >= start },
			func(e record.Entry) bool { return e.Timestamp >= ts && e.Offset >= start })
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
			func(e record.Entry) bool { return e.Timestamp >= newest.Timestamp && e.Offset >= start })
	})
}

// largestFrom returns the largest timestamp of the records from start on, and the last offset of
// the batch that has it first. It reads batches only if the log start lies within the segment.
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
			at.Timestamp = record.NoTimestamp
			readErr := s.entries(pos, h, func(e record.Entry) bool {
				if e.Offset >= start {
					at.Timestamp = max(at.Timestamp, e.Timestamp)
				}
				return true
			})
			if readErr != nil {
				return false, readErr
			}
		}
		if at.Timestamp > largest.Timestamp {
			largest = at
		}
		return true, nil
	})
	return largest, err
}

// search asks the segments in order until one answers. If a segment disappears it begins again.
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

// firstRecord finds the first wanted record, beginning with the batch that holds offset from. It
// reads only batches that maybe accepts.
func (s *segment) firstRecord(from int64, maybe func(record.Batch) bool, want func(record.Entry) bool) (at TimestampOffset, ok bool, err error) {
	size := s.size.Load()
	loc, found, err := s.locate(from, size)
	if err != nil || !found {
		return at, false, err
	}
	err = s.scan(loc.pos, size, func(h record.Batch, pos int64) (bool, error) {
		if !maybe(h) {
			return true, nil
		}
		readErr := s.entries(pos, h, func(e record.Entry) bool {
			if want(e) {
				at, ok = TimestampOffset{Offset: e.Offset, Timestamp: e.Timestamp, LeaderEpoch: h.LeaderEpoch()}, true
			}
			return !ok
		})
		return !ok, readErr
	})
	return at, ok, err
}

// entries passes the records of the batch at pos to visit until visit returns false. A batch that a
// producer made with records that cannot be decoded counts as empty: no reader can use it, and a
// lookup that fails on it would fail forever. A batch damaged by the disk is an error.
func (s *segment) entries(pos int64, header record.Batch, visit func(record.Entry) (more bool)) error {
	b, err := s.readBatch(pos, int64(header.Size()))
	if err != nil {
		return err
	}
	err = s.env.decoded(b, record.MaxDecompressed, func(payload []byte) error {
		for e, err := range b.EntriesIn(payload) {
			if err != nil {
				return refuseRecords(err)
			}
			if !visit(e) {
				return nil
			}
		}
		return nil
	})
	if errors.Is(err, ErrInvalidRecord) || errors.Is(err, ErrRecordTooLarge) {
		if bad := b.Check(); bad != nil {
			return fmt.Errorf("%w: batch at offset %d: %w", ErrCorrupt, b.BaseOffset(), bad)
		}
		return nil
	}
	return err
}

// AbortedTransactions lists the aborted transactions that overlap the offsets from (inclusive) to
// upTo (exclusive). A read_committed reader skips their records.
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
				// It was listed before the search began again.
				continue
			}
			if t.LastStableOffset >= upTo && t.FirstOffset >= upTo {
				// No later one begins below upTo.
				return TimestampOffset{}, true, nil
			}
			if t.LastOffset >= from && t.FirstOffset < upTo {
				txns = append(txns, t)
			}
		}
		return TimestampOffset{}, false, nil
	})
	return txns, err
}
