package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// DescribeTopicPartitions lists partitions page by page. Version 0 (KIP-966).
//
//   - Topics are in the order of their names, partitions in the order of their numbers. The cursor
//     is the first partition that did not fit.
//   - No topics named means all of them. A cursor's topic counts as named.
//   - The last known ELR is always empty.
//   - Tagged fields name the replicas that a partition without a leader waits for, and the leader
//     epoch of the newest unclean election.
func (b *Broker) describeTopicPartitions(_ context.Context, _ *Request, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	if req.Cursor != nil && req.Cursor.Partition < 0 {
		for _, t := range req.Topics {
			resp.Topics = append(resp.Topics, describeFailure(t.Topic, protocol.InvalidRequest))
		}
		return resp
	}
	image := b.cluster.Image()
	room := max(min(int(req.ResponsePartitionLimit), maxPartitionsPerPage), 1)
	for _, name := range describedTopics(image, req) {
		first := 0
		if req.Cursor != nil && name == req.Cursor.Topic {
			first = int(req.Cursor.Partition)
		}
		if room == 0 {
			resp.NextCursor = cursorAt(name, first)
			break
		}
		topic, ok := image.TopicByName(name)
		if !ok {
			code := protocol.UnknownTopicOrPartition
			if metadata.ValidateTopicName(name) != nil {
				code = protocol.InvalidTopicException
			}
			resp.Topics = append(resp.Topics, describeFailure(name, code))
			continue
		}
		t := kmsg.NewDescribeTopicPartitionsResponseTopic()
		t.Topic, t.TopicID, t.IsInternal, t.AuthorizedOperations = &topic.Name, topic.ID, isInternal(name), topicOperations
		last := min(len(topic.Partitions), first+room)
		for i := first; i < last; i++ {
			t.Partitions = append(t.Partitions, describePartition(image, int32(i), topic.Partitions[i]))
		}
		resp.Topics = append(resp.Topics, t)
		room -= len(t.Partitions)
		if last < len(topic.Partitions) {
			resp.NextCursor = cursorAt(name, last)
			break
		}
	}
	return resp
}

// maxPartitionsPerPage is Kafka's max.request.partition.size.limit.
const maxPartitionsPerPage = 2000

// describedTopics returns the names that the request is about, from its cursor on, in ascending
// order.
func describedTopics(image *metadata.Image, req *kmsg.DescribeTopicPartitionsRequest) []string {
	names := make([]string, 0, len(req.Topics)+1)
	if len(req.Topics) == 0 {
		names = image.TopicNames()
	} else {
		for _, t := range req.Topics {
			names = append(names, t.Topic)
		}
		if req.Cursor != nil {
			names = append(names, req.Cursor.Topic)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	if req.Cursor != nil {
		from, _ := slices.BinarySearch(names, req.Cursor.Topic)
		names = names[from:]
	}
	return names
}

func cursorAt(topic string, partition int) *kmsg.DescribeTopicPartitionsResponseNextCursor {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, int32(partition)
	return &c
}

func describeFailure(name string, code protocol.ErrorCode) kmsg.DescribeTopicPartitionsResponseTopic {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic, t.ErrorCode, t.IsInternal = &name, int16(code), isInternal(name)
	t.AuthorizedOperations = operationsNotRequested
	return t
}

func describePartition(image *metadata.Image, number int32, p *metadata.Partition) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	dp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	dp.Partition, dp.LeaderEpoch = number, p.LeaderEpoch
	dp.Replicas, dp.ISR = p.Replicas, p.ISR
	// The schema has these two nullable. Kafka never sends null, and its clients do not expect it.
	dp.EligibleLeaderReplicas, dp.LastKnownELR = append([]int32{}, p.ELR...), []int32{}
	dp.OfflineReplicas = offline(image, p.Replicas)
	leader, ok := image.Leader(p)
	dp.LeaderID = leader.ID
	if !ok {
		dp.LeaderID, dp.ErrorCode = metadata.NoBroker, int16(protocol.LeaderNotAvailable)
	}
	protocol.Elections{Awaited: image.Awaited(p), UncleanEpoch: p.UncleanEpoch}.Tags(&dp.UnknownTags)
	return dp
}
