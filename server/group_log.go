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

// topicLog lets coordinators keep their state in an internal topic of this
// broker: it is a coordinator.Log.
type topicLog struct {
	topic    string
	replicas *replication.Manager
}

// loadBytes is how much of a partition is read at a time while it is loaded.
const loadBytes = 1 << 20

// Append writes one batch with acks=all.
func (l topicLog) Append(ctx context.Context, partition int32, batch []byte) (int64, error) {
	p, err := l.partition(partition)
	if err != nil {
		return 0, err
	}
	if _, epoch := p.Leader(); epoch != record.Batch(batch).LeaderEpoch() {
		return 0, fmt.Errorf("append to %s: epoch is %d: %w", p.TopicPartition(), epoch, coordinator.ErrNotCoordinator)
	}
	appended, err := p.Append(batch, replication.AcksAll)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", refusal(err), err)
	}
	if err = appended.Wait(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", coordinator.ErrUncertain, err)
	}
	return appended.LastOffset, nil
}

// refusal is the coordinator's word for an append that was not taken.
func refusal(err error) error {
	switch {
	case errors.Is(err, replication.ErrNotLeader), errors.Is(err, replication.ErrUnknownTopicOrPartition):
		return coordinator.ErrNotCoordinator
	case errors.Is(err, storage.ErrRecordTooLarge), errors.Is(err, storage.ErrRecordListTooLarge):
		return coordinator.ErrRecordTooLarge
	}
	return coordinator.ErrUnavailable
}

// Load reads what is committed.
func (l topicLog) Load(ctx context.Context, partition int32, fn func(record.Batch) error) error {
	p, err := l.partition(partition)
	if err != nil {
		return err
	}
	var buf []byte
	end := p.HighWatermark()
	for offset := p.Log().StartOffset(); offset < end; {
		if buf, err = l.read(ctx, p, offset, buf[:0]); err != nil {
			return err
		}
		for rest := buf; ; {
			var b record.Batch
			if b, rest, err = record.Split(rest); errors.Is(err, record.ErrTruncated) {
				break // the rest of it comes with the next read
			} else if err != nil {
				return fmt.Errorf("load %s at offset %d: %w", p.TopicPartition(), offset, err)
			}
			if err = fn(b); err != nil {
				return err
			}
			offset = b.NextOffset()
		}
	}
	return nil
}

func (l topicLog) read(ctx context.Context, p *replication.Partition, offset int64, buf []byte) ([]byte, error) {
	result, err := p.Read(ctx, replication.ReadRequest{
		Offset: offset, MaxBytes: loadBytes, MinOne: true, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("load %s at offset %d: %w", p.TopicPartition(), offset, err)
	}
	defer result.Records.Release()
	if buf, err = result.Records.AppendTo(buf); err == nil && len(buf) == 0 {
		err = coordinator.ErrUnavailable // committed, and not there
	}
	if err != nil {
		return nil, fmt.Errorf("load %s at offset %d: %w", p.TopicPartition(), offset, err)
	}
	return buf, nil
}

func (l topicLog) partition(number int32) (*replication.Partition, error) {
	p, ok := l.replicas.Partition(metadata.TopicPartition{Topic: l.topic, Partition: number})
	if !ok {
		return nil, fmt.Errorf("%s-%d: %w", l.topic, number, coordinator.ErrNotCoordinator)
	}
	return p, nil
}
