package coordinatortest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/record"
)

// MemLog is a coordinator.Log in memory. The zero value is empty; partitions are
// there when they are named, in epoch 0.
type MemLog struct {
	// Before, if set, is called with every append, without locks: it may block,
	// and its error refuses the batch. Set it before use.
	Before func(ctx context.Context, partition int32, batch record.Batch) error
	// After, if set, is called when a batch is in the log; its error is what
	// Append returns.
	After func(partition int32) error

	mu struct {
		sync.Mutex
		partitions map[int32]*memPartition
	}
}

type memPartition struct {
	epoch   int32
	end     int64
	batches []record.Batch
}

// partitionLocked needs l.mu.
func (l *MemLog) partitionLocked(n int32) *memPartition {
	if l.mu.partitions == nil {
		l.mu.partitions = map[int32]*memPartition{}
	}
	p := l.mu.partitions[n]
	if p == nil {
		p = &memPartition{}
		l.mu.partitions[n] = p
	}
	return p
}

// SetEpoch makes epoch the leader epoch that a partition's batches must carry.
func (l *MemLog) SetEpoch(partition, epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitionLocked(partition).epoch = epoch
}

// Append is coordinator.Log's.
func (l *MemLog) Append(ctx context.Context, partition int32, batch []byte) (int64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	b := record.Batch(batch)
	if err := b.Check(); err != nil {
		return 0, fmt.Errorf("append to partition %d: %w", partition, err)
	}
	if l.Before != nil {
		if err := l.Before(ctx, partition, b); err != nil {
			return 0, err
		}
	}
	last, err := l.append(partition, b)
	if err == nil && l.After != nil {
		err = l.After(partition)
	}
	return last, err
}

func (l *MemLog) append(partition int32, b record.Batch) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.partitionLocked(partition)
	if b.LeaderEpoch() != p.epoch {
		return 0, fmt.Errorf("append to partition %d in epoch %d, it is in %d: %w",
			partition, b.LeaderEpoch(), p.epoch, coordinator.ErrNotCoordinator)
	}
	b.SetBaseOffset(p.end)
	p.end = b.NextOffset()
	p.batches = append(p.batches, slices.Clone(b))
	return b.LastOffset(), nil
}

// Load is coordinator.Log's.
func (l *MemLog) Load(ctx context.Context, partition int32, fn func(record.Batch) error) error {
	l.mu.Lock()
	batches := slices.Clone(l.partitionLocked(partition).batches)
	l.mu.Unlock()
	for _, b := range batches {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	return nil
}

// Records lists all records of a partition, in order.
func (l *MemLog) Records(partition int32) ([]coordinator.Record, error) {
	var list []coordinator.Record
	err := l.Load(context.Background(), partition, func(b record.Batch) error {
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			list = append(list, coordinator.Record{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)})
		}
		return nil
	})
	return list, err
}

// Batches is how many batches a partition has.
func (l *MemLog) Batches(partition int32) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.partitionLocked(partition).batches)
}

// Compact leaves of every key the last record only, each in a batch of its own,
// and of those the tombstones only if keepTombstones is set.
func (l *MemLog) Compact(partition int32, keepTombstones bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.partitionLocked(partition)
	last := map[string]int64{}
	for _, b := range p.batches {
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			last[string(r.Key)] = r.Offset
		}
	}
	var kept []record.Batch
	for _, b := range p.batches {
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			if last[string(r.Key)] != r.Offset || (r.Value == nil && !keepTombstones) {
				continue
			}
			one := record.Builder{BaseOffset: r.Offset, LeaderEpoch: b.LeaderEpoch()}
			one.Append(r.Timestamp, r.Key, r.Value)
			made, bad := one.Build()
			if bad != nil {
				return bad
			}
			kept = append(kept, made)
		}
	}
	p.batches = kept
	return nil
}
