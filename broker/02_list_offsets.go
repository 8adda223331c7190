package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
)

// ListOffsets finds offsets by time, over both tiers. Versions 1-11.
//
//   - v2 (KIP-98): isolation level: "latest" is the last stable offset for read_committed.
//   - v4 (KIP-320): leader epochs.
//   - v5 (KIP-207): OFFSET_NOT_AVAILABLE from a new leader; older versions get
//     LEADER_NOT_AVAILABLE.
//   - v7 (KIP-734): -3 is the largest timestamp. v8 (KIP-405): -4 is the start of the local tier.
//     v9 (KIP-1005): -5 is the last offset in the remote tier. v11 (KIP-1023): -6 is the first
//     offset that is not there yet. Older versions get UNSUPPORTED_VERSION for them.
//   - v10 (KIP-1075): the request's time limit, since the bucket may be slow.
//   - Replica id -2, a debugging client, sees the end of the log.
//
// Not implemented: authorization, requests by replicas (NOT_LEADER_OR_FOLLOWER).
func (b *Broker) listOffsets(ctx context.Context, _ *Request, req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	ctx, cancel := context.WithTimeoutCause(ctx, listOffsetsTimeout(req), context.DeadlineExceeded)
	defer cancel()
	count := map[metadata.TopicPartition]int{}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			count[metadata.TopicPartition{Topic: req.Topics[i].Topic, Partition: req.Topics[i].Partitions[j].Partition}]++
		}
	}
	var searches []func() // searches by time, which may read the bucket
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		topic.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, answer := &t.Partitions[j], &topic.Partitions[j]
			answer.Default()
			answer.Partition = p.Partition
			find := func() {
				err := b.listOffset(ctx, req, t.Topic, p, answer)
				if count[metadata.TopicPartition{Topic: t.Topic, Partition: p.Partition}] > 1 {
					err = fmt.Errorf("%s-%d is named twice: %w", t.Topic, p.Partition, errInvalidRequest)
				}
				b.listedError(ctx, req, answer, err)
			}
			if p.Timestamp >= 0 || p.Timestamp == replication.MaxTimestamp {
				searches = append(searches, find)
			} else {
				find()
			}
		}
		resp.Topics = append(resp.Topics, topic)
	}
	inParallel(listOffsetsParallel, searches)
	return resp
}

const (
	listOffsetsParallel       = 8
	listOffsetsDefaultTimeout = 30 * time.Second
)

func listOffsetsTimeout(req *kmsg.ListOffsetsRequest) time.Duration {
	if req.Version >= 10 && req.TimeoutMillis > 0 {
		return time.Duration(req.TimeoutMillis) * time.Millisecond
	}
	return listOffsetsDefaultTimeout
}

// firstVersion is the first version of ListOffsets that has a special timestamp.
var firstVersion = map[int64]int16{
	replication.LatestTimestamp:                1,
	replication.EarliestTimestamp:              1,
	replication.MaxTimestamp:                   7,
	replication.EarliestLocalTimestamp:         8,
	replication.LatestTieredTimestamp:          9,
	replication.EarliestPendingUploadTimestamp: 11,
}

func (b *Broker) listOffset(
	ctx context.Context, req *kmsg.ListOffsetsRequest, topic string,
	p *kmsg.ListOffsetsRequestTopicPartition, answer *kmsg.ListOffsetsResponseTopicPartition,
) error {
	if p.Timestamp < 0 {
		if first, ok := firstVersion[p.Timestamp]; !ok || req.Version < first {
			return fmt.Errorf("timestamp %d in ListOffsets v%d: %w", p.Timestamp, req.Version, errUnsupportedVersion)
		}
	}
	if req.ReplicaID >= 0 {
		return replication.ErrNotLeader
	}
	partition, err := b.partitionByName(topic, p.Partition)
	if err != nil {
		return err
	}
	level := isolationOf(req.IsolationLevel)
	if req.ReplicaID == debugReplica {
		level = replication.ReadLogEnd
	}
	var found storage.TimestampOffset
	found, err = partition.ListOffset(ctx, p.Timestamp, level, p.CurrentLeaderEpoch)
	if err != nil {
		return err
	}
	answer.Offset, answer.Timestamp, answer.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	return nil
}

// debugReplica is the replica id of a debugging client.
const debugReplica = -2

func (b *Broker) listedError(ctx context.Context, req *kmsg.ListOffsetsRequest, answer *kmsg.ListOffsetsResponseTopicPartition, err error) {
	if err == nil {
		return
	}
	answer.Offset, answer.Timestamp, answer.LeaderEpoch = -1, -1, -1
	answer.ErrorCode = b.code(ctx, err)
	if req.Version < 5 && answer.ErrorCode == int16(protocol.OffsetNotAvailable) {
		answer.ErrorCode = int16(protocol.LeaderNotAvailable)
	}
}
