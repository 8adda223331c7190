package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
)

// topicLog is a coordinator.Log: coordinators keep their state in an internal topic of this broker.
type topicLog struct {
	topic    string
	replicas *replication.Manager
}

// Append writes one batch with acks=all.
func (l topicLog) Append(ctx context.Context, partition int32, batch []byte) (int64, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", coordinator.ErrUnavailable, err)
	}
	p, err := l.partition(partition)
	if err != nil {
		return 0, err
	}
	appended, err := p.AppendAt(record.Batch(batch).LeaderEpoch(), batch)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", refusal(err), err)
	}
	if err = appended.Wait(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", coordinator.ErrUncertain, err)
	}
	return appended.LastOffset, nil
}

// refusals are the errors by which an append promises that it has written nothing, with the errors
// of the coordinator that they become. Any other error is coordinator.ErrUncertain.
var refusals = []struct{ err, as error }{
	{replication.ErrNotLeader, coordinator.ErrNotCoordinator},
	{replication.ErrUnknownTopicOrPartition, coordinator.ErrNotCoordinator},
	{replication.ErrFencedLeaderEpoch, coordinator.ErrNotCoordinator},
	{replication.ErrUnknownLeaderEpoch, coordinator.ErrNotCoordinator},
	{replication.ErrNotEnoughReplicas, coordinator.ErrUnavailable},
	{storage.ErrDiskFull, coordinator.ErrUnavailable},
	{storage.ErrExhausted, coordinator.ErrUnavailable},
	{storage.ErrRecordTooLarge, coordinator.ErrRecordTooLarge},
	{storage.ErrRecordListTooLarge, coordinator.ErrRecordTooLarge},
}

func refusal(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.as
		}
	}
	return coordinator.ErrUncertain
}

// Load reads the whole log, including records that are not committed yet: an earlier leader may
// have acknowledged them.
func (l topicLog) Load(ctx context.Context, partition int32, fn func(record.Batch) error) error {
	p, err := l.partition(partition)
	if err != nil {
		return err
	}
	return p.Scan(ctx, fn)
}

func (l topicLog) partition(number int32) (*replication.Partition, error) {
	p, ok := l.replicas.Partition(metadata.TopicPartition{Topic: l.topic, Partition: number})
	if !ok {
		return nil, fmt.Errorf("%s-%d: %w", l.topic, number, coordinator.ErrNotCoordinator)
	}
	return p, nil
}
