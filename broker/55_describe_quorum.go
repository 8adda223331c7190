package broker

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
)

// DescribeQuorum describes how the members of etcd replicate the metadata, in the terms of Kafka's
// metadata quorum. Versions 0-2 (KIP-595). Any broker serves it.
//
//   - The only partition is __cluster_metadata-0. Any other, or any beside it, is
//     UNKNOWN_TOPIC_OR_PARTITION.
//   - The leader is etcd's, the epoch is its term, and offsets are indexes of its log. The high
//     watermark is its commit index. A voter's log end offset is the commit index that the voter
//     knows. Replica ids are those of the brokers that the members run in; members of an external
//     etcd have ids of 2^30 and more.
//   - Observers are the brokers without a member, which follow etcd by its watch. Their position in
//     etcd's log is unknown, so -1. Learners of etcd are observers too.
//   - Without a leader: REQUEST_TIMED_OUT, as from a Kafka broker that finds no controller.
//   - v1 (KIP-836): when a voter last answered this broker, and when it last was known to have the
//     whole log. A silent voter is shown as this broker last saw it. Before the first such request
//     the broker has not seen it: then -1.
//   - v2 (KIP-853): error texts; the voters' addresses, under the name ETCD; directory ids, which
//     are zero as long as voters are known by their id alone.
//
// Not implemented: authorization.
func (b *Broker) describeQuorum(ctx context.Context, _ *Request, req *kmsg.DescribeQuorumRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	if !isMetadataQuorum(req) {
		resp.Topics = unknownQuorums(req)
		return resp
	}
	quorum, err := b.quorum(ctx)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = b.codeAndMessage(ctx, err)
		return resp
	}
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.LeaderID, p.HighWatermark = quorum.LeaderID, quorum.HighWatermark
	p.LeaderEpoch = int32(min(quorum.Epoch, math.MaxInt32))
	members := map[int32]bool{}
	for _, m := range quorum.Voters {
		members[m.ID] = true
		p.CurrentVoters = append(p.CurrentVoters, quorumReplica(m))
		resp.Nodes = append(resp.Nodes, quorumNode(m))
	}
	for _, m := range quorum.Learners {
		members[m.ID] = true
		p.Observers = append(p.Observers, quorumReplica(m))
	}
	for _, id := range b.cluster.Image().BrokerIDs() {
		if !members[id] {
			p.Observers = append(p.Observers, quorumReplica(kv.QuorumMember{ID: id, LogEndOffset: -1}))
		}
	}
	t := kmsg.NewDescribeQuorumResponseTopic()
	t.Topic, t.Partitions = metadataTopic, []kmsg.DescribeQuorumResponseTopicPartition{p}
	resp.Topics = append(resp.Topics, t)
	return resp
}

// metadataTopic is the topic whose one partition is the metadata log in Kafka. It does not exist
// here.
const metadataTopic = "__cluster_metadata"

func isMetadataQuorum(req *kmsg.DescribeQuorumRequest) bool {
	return len(req.Topics) == 1 && req.Topics[0].Topic == metadataTopic &&
		len(req.Topics[0].Partitions) == 1 && req.Topics[0].Partitions[0].Partition == 0
}

// unknownQuorums answers for each requested partition that it has no quorum.
func unknownQuorums(req *kmsg.DescribeQuorumRequest) []kmsg.DescribeQuorumResponseTopic {
	topics := make([]kmsg.DescribeQuorumResponseTopic, len(req.Topics))
	for i, t := range req.Topics {
		topics[i].Topic = t.Topic
		for _, asked := range t.Partitions {
			p := kmsg.NewDescribeQuorumResponseTopicPartition()
			p.Partition, p.ErrorCode = asked.Partition, int16(protocol.UnknownTopicOrPartition)
			p.ErrorMessage = new(fmt.Sprintf("%s-%d has no quorum: ask for %s-0 alone", t.Topic, asked.Partition, metadataTopic))
			topics[i].Partitions = append(topics[i].Partitions, p)
		}
	}
	return topics
}

func quorumReplica(m kv.QuorumMember) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	r := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	r.ReplicaID, r.LogEndOffset = m.ID, m.LogEndOffset
	r.LastFetchTimestamp, r.LastCaughtUpTimestamp = unixMilliOrUnknown(m.LastFetch), unixMilliOrUnknown(m.LastCaughtUp)
	return r
}

func unixMilliOrUnknown(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// quorumNode returns the addresses of a member. An address that is not host:port is left out.
func quorumNode(m kv.QuorumMember) kmsg.DescribeQuorumResponseNode {
	n := kmsg.NewDescribeQuorumResponseNode()
	n.NodeID = m.ID
	for _, endpoint := range slices.Sorted(slices.Values(m.Endpoints)) {
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil {
			continue
		}
		if number, err := strconv.ParseUint(port, 10, 16); err == nil {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = "ETCD", host, uint16(number)
			n.Listeners = append(n.Listeners, l)
		}
	}
	return n
}
