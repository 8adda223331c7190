package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns TOPIC:PARTITION, the form that the commands accept. A topic's name may end in a
// number, but has no colon.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s:%d", tp.Topic, tp.Partition) }

// Compare orders by topic, then number.
func (tp TopicPartition) Compare(other TopicPartition) int {
	return cmp.Or(cmp.Compare(tp.Topic, other.Topic), cmp.Compare(tp.Partition, other.Partition))
}

// Assignment is the new replicas of a partition, the preferred leader first.
type Assignment struct {
	TopicPartition
	Replicas []int32
}

// Reassignment is a reassignment in progress. Replicas are the old and the new ones.
type Reassignment struct {
	TopicPartition
	Replicas, Adding, Removing []int32
}

// PartitionResult is the result of a request for one partition. Err names the partition; errors.Is
// finds the protocol's error.
type PartitionResult struct {
	TopicPartition
	Err error
}

// Reassignments lists the reassignments in progress, by topic and partition.
func (c *Client) Reassignments(ctx context.Context) ([]Reassignment, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrListPartitionReassignmentsRequest()
	request.TimeoutMillis = int32(c.options.Timeout.Milliseconds())
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return nil, c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, c.about("list reassignments", text(response.ErrorMessage), err)
	}
	var all []Reassignment
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			all = append(all, Reassignment{
				TopicPartition: TopicPartition{t.Topic, p.Partition},
				Replicas:       p.Replicas, Adding: p.AddingReplicas, Removing: p.RemovingReplicas,
			})
		}
	}
	slices.SortFunc(all, func(a, b Reassignment) int { return a.Compare(b.TopicPartition) })
	return all, nil
}

// Reassign begins to give partitions other replicas, and returns a result for each, by topic and
// partition. It does not wait for the replicas to catch up.
func (c *Client) Reassign(ctx context.Context, assignments ...Assignment) ([]PartitionResult, error) {
	replicas := make(map[TopicPartition][]int32, len(assignments))
	for _, a := range assignments {
		// never nil, which would cancel
		replicas[a.TopicPartition] = append([]int32{}, a.Replicas...)
	}
	return c.alterReassignments(ctx, replicas)
}

// CancelReassignments cancels reassignments in progress, and returns a result for each, by topic
// and partition.
func (c *Client) CancelReassignments(ctx context.Context, partitions ...TopicPartition) ([]PartitionResult, error) {
	replicas := make(map[TopicPartition][]int32, len(partitions))
	for _, tp := range partitions {
		replicas[tp] = nil
	}
	return c.alterReassignments(ctx, replicas)
}

func (c *Client) alterReassignments(ctx context.Context, replicas map[TopicPartition][]int32) ([]PartitionResult, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	request.TimeoutMillis = int32(c.options.Timeout.Milliseconds())
	for _, tp := range slices.SortedFunc(maps.Keys(replicas), TopicPartition.Compare) {
		if n := len(request.Topics); n == 0 || request.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			t.Topic = tp.Topic
			request.Topics = append(request.Topics, t)
		}
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = tp.Partition, replicas[tp]
		last := &request.Topics[len(request.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return nil, c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, c.about("alter reassignments", text(response.ErrorMessage), err)
	}
	var results []PartitionResult
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			results = append(results, c.result(t.Topic, p.Partition, p.ErrorCode, p.ErrorMessage))
		}
	}
	return sorted(results), nil
}

// ElectLeaders elects the preferred leaders of partitions or, if unclean is set, any live replica
// of those that have no leader. It returns a result for each, by topic and partition. No partitions
// mean all: then those that need no election are not in the result.
func (c *Client) ElectLeaders(ctx context.Context, unclean bool, partitions ...TopicPartition) ([]PartitionResult, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrElectLeadersRequest()
	request.TimeoutMillis = int32(c.options.Timeout.Milliseconds())
	if unclean {
		request.ElectionType = 1
	}
	for _, tp := range slices.SortedFunc(slices.Values(partitions), TopicPartition.Compare) {
		if n := len(request.Topics); n == 0 || request.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewElectLeadersRequestTopic()
			t.Topic = tp.Topic
			request.Topics = append(request.Topics, t)
		}
		last := &request.Topics[len(request.Topics)-1]
		last.Partitions = append(last.Partitions, tp.Partition)
	}
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return nil, c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return nil, c.about("elect leaders", "", err)
	}
	var results []PartitionResult
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			results = append(results, c.result(t.Topic, p.Partition, p.ErrorCode, p.ErrorMessage))
		}
	}
	return sorted(results), nil
}

func (c *Client) result(topic string, partition int32, code int16, message *string) PartitionResult {
	tp := TopicPartition{topic, partition}
	return PartitionResult{TopicPartition: tp, Err: c.about(tp.String(), text(message), kerr.ErrorForCode(code))}
}

func sorted(results []PartitionResult) []PartitionResult {
	slices.SortFunc(results, func(a, b PartitionResult) int { return a.Compare(b.TopicPartition) })
	return results
}

// Replica is the copy of a partition on a broker.
type Replica struct {
	TopicPartition
	Broker int32
}

// ReplicaBytes asks all brokers for the sizes of the partitions' replicas on their disks. A replica
// that no broker reports is missing in the result.
func (c *Client) ReplicaBytes(ctx context.Context, partitions ...TopicPartition) (map[Replica]int64, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	sizes := map[Replica]int64{}
	if len(partitions) == 0 {
		return sizes, nil // an empty list would mean all topics
	}
	request := kmsg.NewPtrDescribeLogDirsRequest()
	for _, tp := range slices.SortedFunc(slices.Values(partitions), TopicPartition.Compare) {
		if n := len(request.Topics); n == 0 || request.Topics[n-1].Topic != tp.Topic {
			t := kmsg.NewDescribeLogDirsRequestTopic()
			t.Topic = tp.Topic
			request.Topics = append(request.Topics, t)
		}
		last := &request.Topics[len(request.Topics)-1]
		last.Partitions = append(last.Partitions, tp.Partition)
	}
	var failed []error
	for _, shard := range c.kafka.RequestSharded(ctx, request) {
		response, ok := shard.Resp.(*kmsg.DescribeLogDirsResponse)
		if shard.Err != nil || !ok {
			failed = append(failed, c.about(fmt.Sprintf("broker %d", shard.Meta.NodeID), "", shard.Err))
			continue
		}
		for _, dir := range response.Dirs {
			for _, t := range dir.Topics {
				for _, p := range t.Partitions {
					if !p.IsFuture {
						sizes[Replica{TopicPartition{t.Topic, p.Partition}, shard.Meta.NodeID}] = p.Size
					}
				}
			}
		}
	}
	return sizes, errors.Join(failed...)
}

// TopicSetting returns the value of one setting for each of the topics.
func (c *Client) TopicSetting(ctx context.Context, name string, topics ...string) (map[string]string, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	values := make(map[string]string, len(topics))
	if len(topics) == 0 {
		return values, nil
	}
	request := kmsg.NewPtrDescribeConfigsRequest()
	for _, topic := range topics {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
		request.Resources = append(request.Resources, r)
	}
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return nil, c.Explain(err)
	}
	var failed []error
	for _, r := range response.Resources {
		if err = kerr.ErrorForCode(r.ErrorCode); err != nil {
			failed = append(failed, c.about("topic "+r.ResourceName, text(r.ErrorMessage), err))
			continue
		}
		for _, config := range r.Configs {
			if config.Name == name {
				values[r.ResourceName] = text(config.Value)
			}
		}
	}
	return values, errors.Join(failed...)
}
