package tiering

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// EndOffsetForEpoch finds the largest leader epoch of the remote tier that is
// not above epoch, and where it ends: where the next one starts, or where the
// tier ends, beyond which the caller must look in the local log. Both are -1 if
// the tier has no such epoch.
func (m *Manager) EndOffsetForEpoch(ctx context.Context, tp metadata.TopicPartition, epoch int32) (int32, int64, error) {
	p, current, err := m.current(ctx, tp, everything)
	if err != nil {
		return -1, -1, fmt.Errorf("look up leader epoch %d in the remote tier of %s: %w", epoch, tp, err)
	}
	found, end, err := p.endOfEpoch(ctx, current.Pages, current.Recent, int64(epoch))
	if err != nil {
		return -1, -1, fmt.Errorf("look up leader epoch %d in the remote tier of %s: %w", epoch, tp, err)
	}
	if found < 0 || end <= current.StartOffset {
		return -1, -1, nil
	}
	return int32(found), end, nil
}

// endOfEpoch looks into the last entry that begins with such an epoch: epochs
// only grow along the log.
func (p *partition) endOfEpoch(ctx context.Context, pages []pageRef, segments []segment, epoch int64) (found, end int64, err error) {
	for i := len(segments) - 1; i >= 0; i-- {
		if segments[i].Epochs[0][0] <= epoch {
			found, end = segments[i].endOfEpoch(epoch)
			return found, end, nil
		}
	}
	for _, page := range slices.Backward(pages) {
		switch r := page; {
		case int64(r.FirstEpoch) > epoch:
		case int64(r.LastEpoch) <= epoch:
			return int64(r.LastEpoch), r.EndOffset, nil
		default:
			pg, err := p.loadPage(ctx, r)
			if err != nil {
				return -1, -1, err
			}
			return p.endOfEpoch(ctx, pg.Pages, pg.Segments, epoch)
		}
	}
	return -1, -1, nil
}

// endOfEpoch is that of an entry whose first epoch is not above epoch.
func (s *segment) endOfEpoch(epoch int64) (found, end int64) {
	found, end = s.Epochs[0][0], s.EndOffset
	for _, e := range s.Epochs[1:] {
		if e[0] > epoch {
			return found, e[1]
		}
		found = e[0]
	}
	return found, end
}
