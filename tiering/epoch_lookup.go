package tiering

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata"
)

// EndOffsetForEpoch finds the largest leader epoch of the remote tier that is not above epoch, and
// where it ends: where the next one starts, or where the tier ends. After the tier's end the caller
// has to look in the local log. Both are -1 if the tier has no such epoch.
func (m *Manager) EndOffsetForEpoch(ctx context.Context, tp metadata.TopicPartition, epoch int32) (int32, int64, error) {
	p, current, err := m.current(ctx, tp, everything)
	if err != nil {
		return -1, -1, fmt.Errorf("look up leader epoch %d in the remote tier of %s: %w", epoch, tp, err)
	}
	found, end, err := current.Tree(p.loadPage).EndOfEpoch(ctx, epoch)
	if err != nil {
		return -1, -1, fmt.Errorf("look up leader epoch %d in the remote tier of %s: %w", epoch, tp, err)
	}
	if found < 0 || end <= current.StartOffset {
		return -1, -1, nil
	}
	return found, end, nil
}
