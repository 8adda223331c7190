package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// tier is the remote tier: *tiering.Manager.
type tier interface {
	tierAttacher
	partitionTier
}

// tierAttacher is how the applier notifies the remote tier of partitions' roles. Its methods may
// wait for the bucket.
type tierAttacher interface {
	Attach(ctx context.Context, p tiering.Partition)
	Follow(ctx context.Context, p tiering.Partition)
	Detach(ctx context.Context, tp metadata.TopicPartition)
}

// partitionTier is what a partition needs from the remote tier: reads, and Kick for a closed
// segment.
type partitionTier interface {
	Kick(tp metadata.TopicPartition)
	Read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (tiering.Batches, error)
	AbortedTransactions(ctx context.Context, tp metadata.TopicPartition, from, upTo, before int64) (aborted []storage.AbortedTxn, decided bool, err error)
	OffsetForTimestamp(ctx context.Context, tp metadata.TopicPartition, ts, before int64) (storage.TimestampOffset, bool, error)
	MaxTimestamp(ctx context.Context, tp metadata.TopicPartition, before int64) (storage.TimestampOffset, bool, error)
	EndOffsetForEpoch(ctx context.Context, tp metadata.TopicPartition, epoch int32) (int32, int64, error)
	LatestState(ctx context.Context, tp metadata.TopicPartition) (storage.RemoteState, error)
	Status(tp metadata.TopicPartition) (tiering.Status, bool)
	Rebuild(ctx context.Context, tp metadata.TopicPartition, dryRun bool) (tiering.Rebuilt, error)
}

// TierStatus returns what the bucket has of the partition; false if the partition has no remote
// tier, or not yet.
func (p *Partition) TierStatus() (tiering.Status, bool) {
	if p.tier == nil {
		return tiering.Status{}, false
	}
	return p.tier.Status(p.tp)
}

// RebuildTier sets the pointer of the partition's remote tier to what the bucket has; see
// tiering.Manager.Rebuild. The error is ErrNotLeader if this broker does not lead the partition, or
// the partition has no remote tier.
func (p *Partition) RebuildTier(ctx context.Context, dryRun bool) (tiering.Rebuilt, error) {
	if p.tier == nil {
		return tiering.Rebuilt{}, fmt.Errorf("rebuild the remote tier of %s, which has none: %w", p.tp, ErrNotLeader)
	}
	rebuilt, err := p.tier.Rebuild(ctx, p.tp, dryRun)
	if errors.Is(err, tiering.ErrUnknownPartition) || errors.Is(err, tiering.ErrDeposed) {
		err = fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return rebuilt, err
}
