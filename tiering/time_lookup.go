package tiering

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// OffsetForTimestamp finds the first record of the remote tier, from the log
// start on, whose timestamp is ts or later; false if there is none. It looks only
// into segments that begin below an offset: before, which is where the local log begins.
func (m *Manager) OffsetForTimestamp(ctx context.Context, tp metadata.TopicPartition, ts, before int64) (storage.TimestampOffset, bool, error) {
	p, current, err := m.current(ctx, tp, everything)
	if err != nil {
		return storage.TimestampOffset{}, false, fmt.Errorf("look up time %d in the remote tier of %s: %w", ts, tp, err)
	}
	found, ok, err := p.lookUpTime(ctx, current, ts, before)
	if err != nil {
		return storage.TimestampOffset{}, false, fmt.Errorf("look up time %d in the remote tier of %s: %w", ts, tp, err)
	}
	return found, ok, nil
}

// MaxTimestamp finds the largest timestamp in the remote tier, from the log
// start on, and the first record that has it; false if there is none, or it is only in
// segments that begin at the offset before, or later.
func (m *Manager) MaxTimestamp(ctx context.Context, tp metadata.TopicPartition, before int64) (storage.TimestampOffset, bool, error) {
	p, current, err := m.current(ctx, tp, everything)
	if err != nil {
		return storage.TimestampOffset{}, false, fmt.Errorf("look up the largest timestamp in the remote tier of %s: %w", tp, err)
	}
	ts, err := p.largestTimestamp(ctx, current, before)
	found, ok := storage.TimestampOffset{}, false
	if err == nil && ts >= 0 {
		found, ok, err = p.lookUpTime(ctx, current, ts, before)
	}
	if err != nil {
		return storage.TimestampOffset{}, false, fmt.Errorf("look up the largest timestamp in the remote tier of %s: %w", tp, err)
	}
	return found, ok, nil
}

// largestTimestamp is that of all records from the log start on, in segments that begin
// below an offset or are in a page with one that does. What entries and pages tell of
// themselves is enough, but for those that begin below the log start.
func (p *partition) largestTimestamp(ctx context.Context, m *manifest, before int64) (int64, error) {
	start := max(m.StartOffset, p.log.StartOffset())
	largest := int64(-1)
	whole := func(r pageRef) bool {
		if r.StartOffset < start {
			return false
		}
		if r.StartOffset < before {
			largest = max(largest, r.MaxTimestamp)
		}
		return true
	}
	var partial []segment
	for s, err := range m.segmentsFrom(ctx, start, p.loadPage, whole) {
		switch {
		case err != nil:
			return -1, err
		case s.StartOffset >= before:
		case s.BaseOffset < start:
			partial = append(partial, s)
		default:
			largest = max(largest, s.MaxTimestamp)
		}
	}
	for _, s := range partial {
		if s.MaxTimestamp <= largest {
			continue
		}
		r, err := p.open(ctx, s)
		if err != nil {
			return -1, err
		}
		if largest, err = r.largestTimestamp(ctx, start, largest); err != nil {
			return -1, err
		}
	}
	return largest, nil
}

// largestTimestamp is that of the segment's records from start on, or the one
// given if that is larger.
func (r *segmentReader) largestTimestamp(ctx context.Context, start, largest int64) (int64, error) {
	at := storage.LookupOffset(r.tail.offsetIndex, r.tail.baseOffset, start)
	for at < r.tail.logBytes {
		h, err := r.header(ctx, at)
		if err != nil {
			return -1, err
		}
		size := int64(h.Size())
		switch {
		case h.LastOffset() < start || h.MaxTimestamp() <= largest:
		case h.BaseOffset() >= start:
			largest = h.MaxTimestamp()
		default:
			b, err := r.span(ctx, at, size)
			if err != nil {
				return -1, err
			}
			for rec, recErr := range record.Batch(b[:size:size]).Entries() {
				if recErr != nil {
					return -1, fmt.Errorf("%w: %s: batch at %d: %w", ErrCorrupt, r.key, at, recErr)
				}
				if rec.Offset >= start {
					largest = max(largest, rec.Timestamp)
				}
			}
		}
		at += size
	}
	return largest, nil
}

// lookUpTime goes through the segments that may have such a record, in order:
// timestamps need not ascend from one segment to the next.
func (p *partition) lookUpTime(ctx context.Context, m *manifest, ts, before int64) (storage.TimestampOffset, bool, error) {
	start := max(m.StartOffset, p.log.StartOffset())
	skip := func(r pageRef) bool { return r.MaxTimestamp < ts || r.StartOffset >= before }
	for s, err := range m.segmentsFrom(ctx, start, p.loadPage, skip) {
		if err != nil {
			return storage.TimestampOffset{}, false, err
		}
		if s.StartOffset >= before {
			break
		}
		if s.MaxTimestamp < ts {
			continue
		}
		r, err := p.open(ctx, s)
		if err != nil {
			return storage.TimestampOffset{}, false, err
		}
		found, ok, err := r.lookUpTime(ctx, ts, max(start, s.StartOffset))
		if err != nil || ok {
			return found, ok, err
		}
	}
	return storage.TimestampOffset{}, false, nil
}

// lookUpTime finds the first record of the segment at or after both ts and start:
// the time index tells the offset, the offset index the position, and from there
// the batches are looked at.
func (r *segmentReader) lookUpTime(ctx context.Context, ts, start int64) (storage.TimestampOffset, bool, error) {
	from := start
	if entry, ok := storage.LookupTime(r.tail.timeIndex, r.tail.baseOffset, ts); ok {
		from = max(from, entry.Offset)
	}
	at := storage.LookupOffset(r.tail.offsetIndex, r.tail.baseOffset, from)
	for at < r.tail.logBytes {
		h, err := r.header(ctx, at)
		if err != nil {
			return storage.TimestampOffset{}, false, err
		}
		size := int64(h.Size())
		if h.MaxTimestamp() >= ts && h.LastOffset() >= start {
			b, err := r.span(ctx, at, size)
			if err != nil {
				return storage.TimestampOffset{}, false, err
			}
			found, ok, err := firstRecord(record.Batch(b[:size:size]), ts, start)
			if err != nil {
				return storage.TimestampOffset{}, false, fmt.Errorf("%w: %s: batch at %d: %w", ErrCorrupt, r.key, at, err)
			}
			if ok {
				return found, true, nil
			}
		}
		at += size
	}
	return storage.TimestampOffset{}, false, nil
}

func firstRecord(b record.Batch, ts, start int64) (storage.TimestampOffset, bool, error) {
	for rec, err := range b.Entries() {
		if err != nil {
			return storage.TimestampOffset{}, false, err
		}
		if rec.Timestamp >= ts && rec.Offset >= start {
			return storage.TimestampOffset{Offset: rec.Offset, Timestamp: rec.Timestamp, LeaderEpoch: b.LeaderEpoch()}, true, nil
		}
	}
	return storage.TimestampOffset{}, false, nil
}
