package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/replication"
)

// debuggingConsumer is the replica id of a client that may ask any replica.
const debuggingConsumer = -2

// OffsetForLeaderEpoch returns where a leader epoch ended, so that a client notices that its
// records are no longer in the log. Versions 2-4.
//
//   - v2 (KIP-320): the leader epoch that the client knows.
//   - v3 (KIP-392): the replica id. For the debugging consumer (-2) every replica answers from its
//     own log. An epoch after that log's newest one is answered with the newest one and the log end
//     offset. The controller uses this to find the replica for an unclean election.
//
// Not implemented: authorization, requests by replicas (NOT_LEADER_OR_FOLLOWER).
func (b *Broker) offsetForLeaderEpoch(ctx context.Context, _ *Request, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			answer := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			answer.Partition, answer.LeaderEpoch, answer.EndOffset = p.Partition, -1, -1
			end, err := b.epochEnd(ctx, req, t.Topic, p)
			if err != nil {
				answer.ErrorCode = b.code(ctx, err)
			} else {
				answer.LeaderEpoch, answer.EndOffset = end.Epoch, end.EndOffset
			}
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (b *Broker) epochEnd(
	ctx context.Context, req *kmsg.OffsetForLeaderEpochRequest, topic string, p *kmsg.OffsetForLeaderEpochRequestTopicPartition,
) (replication.EpochEnd, error) {
	if req.ReplicaID >= 0 {
		return replication.EpochEnd{}, replication.ErrNotLeader
	}
	partition, err := b.partitionByName(topic, p.Partition)
	if err != nil {
		return replication.EpochEnd{}, err
	}
	// before v3 every consumer has this id by default
	if req.Version >= 3 && req.ReplicaID == debuggingConsumer {
		return partition.LocalEpochEnd(p.LeaderEpoch)
	}
	return partition.EndOffsetForEpoch(ctx, p.LeaderEpoch, p.CurrentLeaderEpoch)
}
