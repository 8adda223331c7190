package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createPlaced creates a topic with the given replicas of each partition, the preferred leader
// first. configs are pairs of key and value.
func createPlaced(t *testing.T, client *kgo.Client, topic string, replicas [][]int32, configs ...string) {
	t.Helper()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 20_000
	named := kmsg.NewCreateTopicsRequestTopic()
	named.Topic, named.NumPartitions, named.ReplicationFactor = topic, -1, -1
	for number, on := range replicas {
		placed := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		placed.Partition, placed.Replicas = int32(number), on
		named.ReplicaAssignment = append(named.ReplicaAssignment, placed)
	}
	for i := 0; i < len(configs); i += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = configs[i], &configs[i+1]
		named.Configs = append(named.Configs, config)
	}
	request.Topics = append(request.Topics, named)
	response, err := request.RequestWith(t.Context(), client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

// spread places partitions on brokers 1, 2 and 3, so that each of them leads a third.
func spread(partitions int) (replicas [][]int32) {
	for i := range partitions {
		replicas = append(replicas, rotated([]int32{1, 2, 3}, i))
	}
	return replicas
}

// rotated returns the replicas rotated by turn, so that another one is first each time.
func rotated(replicas []int32, turn int) []int32 {
	first := turn % len(replicas)
	return slices.Concat(replicas[first:], replicas[:first])
}

// createInSync is createPlaced for a topic without a remote tier. It waits until all replicas are
// in sync.
func createInSync(t *testing.T, client *kgo.Client, topic string, replicas [][]int32, configs ...string) {
	t.Helper()
	createPlaced(t, client, topic, replicas, append([]string{"remote.storage.enable", "false"}, configs...)...)
	allInSync(t, kadm.NewClient(client), topic, 0)
}

// reassign requests other replicas, or another order of them, for one partition.
func reassign(ctx context.Context, client kmsg.Requestor, topic string, partition int32, replicas []int32) error {
	request := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	request.TimeoutMillis = 5000
	named := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	named.Topic = topic
	target := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	target.Partition, target.Replicas = partition, replicas
	named.Partitions = append(named.Partitions, target)
	request.Topics = append(request.Topics, named)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err == nil && len(response.Topics) == 1 && len(response.Topics[0].Partitions) == 1 {
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("reassign %s:%d to %v: %w", topic, partition, replicas, err)
	}
	return nil
}

// electPreferred moves the leadership of every partition to its preferred replica if that is in
// sync, and returns the number of moves.
func electPreferred(ctx context.Context, client kmsg.Requestor) (moved int, err error) {
	request := kmsg.NewPtrElectLeadersRequest()
	request.TimeoutMillis = 5000
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode == 0 {
				moved++
			}
		}
	}
	return moved, kerr.ErrorForCode(response.ErrorCode)
}

// leaderMoves moves the leadership of partitions between their replicas all the time.
type leaderMoves struct {
	client  kmsg.Requestor
	topic   string
	moved   atomic.Int64
	running sync.WaitGroup
	cancel  context.CancelFunc
}

// moveLeaders starts to rotate the replicas of the given partitions at an interval, and to elect
// the first one each time.
func moveLeaders(t *testing.T, client kmsg.Requestor, topic string, replicas map[int32][]int32, every time.Duration) *leaderMoves {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := &leaderMoves{client: client, topic: topic, cancel: cancel}
	m.running.Go(func() { m.run(ctx, replicas, every) })
	t.Cleanup(m.stop)
	return m
}

func (m *leaderMoves) stop() {
	m.cancel()
	m.running.Wait()
}

func (m *leaderMoves) run(ctx context.Context, replicas map[int32][]int32, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for turn := 1; ; turn++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for partition, on := range replicas {
			// If a broker is down or has just stopped, the next tick tries again.
			_ = reassign(ctx, m.client, m.topic, partition, rotated(on, turn))
		}
		moved, _ := electPreferred(ctx, m.client)
		m.moved.Add(int64(moved))
	}
}
