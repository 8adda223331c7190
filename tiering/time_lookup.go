package tiering

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// OffsetForTimestamp finds the first record of the remote tier, from the log start on, whose
// timestamp is ts or later. It returns false if there is none. It searches only segments that begin
// below the offset before, where the local log begins.
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

// MaxTimestamp finds the largest timestamp in the remote tier, from the log start on, and the first
// record that has it. It returns false if there is none, or only in segments that begin at the
// offset before or later.
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

// largestTimestamp returns that of all records from the log start on, in segments that begin below
// an offset, or are in a page with such a segment. The summaries in entries and pages are enough,
// except for segments that begin below the log start.
func (p *partition) largestTimestamp(ctx context.Context, m *format.Manifest, before int64) (int64, error) {
	start := max(m.StartOffset, p.log.StartOffset())
	largest := int64(-1)
	whole := func(r *format.PageRef) bool {
		if r.StartOffset < start {
			return false
		}
		if r.StartOffset < before {
			largest = max(largest, r.MaxTimestamp)
		}
		return true
	}
	var partial []*format.Segment
	for s, err := range m.Tree(p.loadPage).SegmentsFrom(ctx, start, whole) {
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

// largestTimestamp returns that of the segment's records from start on, or largest if that is
// larger. If the segment's largest timestamp is after the chunk of start, the directory has it.
func (r *segmentReader) largestTimestamp(ctx context.Context, start, largest int64) (int64, error) {
	i, n := r.index.Chunks.AtOffset(start), r.chunks()
	if last := r.index.Chunks[n-1].MaxTimestamp; last > r.index.Chunks[i].MaxTimestamp {
		return max(largest, last), nil
	}
	for ; i < n; i++ {
		chunk, err := r.chunk(ctx, i)
		if err != nil {
			return -1, err
		}
		for b, batchErr := range r.batches(chunk) {
			switch {
			case batchErr != nil:
				return -1, batchErr
			case b.LastOffset() < start || b.Count() == 0 || b.MaxTimestamp() <= largest:
			case b.BaseOffset() >= start:
				largest = b.MaxTimestamp()
			default:
				for rec, recErr := range b.Entries() {
					if recErr != nil {
						return -1, fmt.Errorf("%w: %s: batch at offset %d: %w", ErrCorrupt, r.key, b.BaseOffset(), recErr)
					}
					if rec.Offset >= start {
						largest = max(largest, rec.Timestamp)
					}
				}
			}
		}
	}
	return largest, nil
}

// lookUpTime goes through the segments that may have such a record, in order: timestamps need not
// ascend from one segment to the next.
func (p *partition) lookUpTime(ctx context.Context, m *format.Manifest, ts, before int64) (storage.TimestampOffset, bool, error) {
	start := max(m.StartOffset, p.log.StartOffset())
	skip := func(r *format.PageRef) bool { return r.MaxTimestamp < ts || r.StartOffset >= before }
	for s, err := range m.Tree(p.loadPage).SegmentsFrom(ctx, start, skip) {
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

// lookUpTime finds the first record of the segment at or after both ts and start. The directory
// gives the chunk, whose batches are then searched. More chunks are read only if the records that
// are late enough are before start.
func (r *segmentReader) lookUpTime(ctx context.Context, ts, start int64) (storage.TimestampOffset, bool, error) {
	for i := max(r.index.Chunks.AtTime(ts), r.index.Chunks.AtOffset(start)); i < r.chunks(); i++ {
		chunk, err := r.chunk(ctx, i)
		if err != nil {
			return storage.TimestampOffset{}, false, err
		}
		for b, batchErr := range r.batches(chunk) {
			if batchErr != nil {
				return storage.TimestampOffset{}, false, batchErr
			}
			if b.MaxTimestamp() < ts || b.LastOffset() < start {
				continue
			}
			found, ok, err := firstRecord(b.Batch, ts, start)
			if err != nil {
				return storage.TimestampOffset{}, false, fmt.Errorf("%w: %s: batch at offset %d: %w", ErrCorrupt, r.key, b.BaseOffset(), err)
			}
			if ok {
				return found, true, nil
			}
		}
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
