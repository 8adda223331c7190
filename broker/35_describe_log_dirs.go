package broker

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// DescribeLogDirs returns the sizes of the logs on this broker's disks. Versions 1-5.
//
//   - v2 (KIP-482): Varve adds as tagged fields what the bucket holds of each partition
//     (protocol.TierStats, protocol.TierProblem), and what is wrong with the bucket as a field of
//     the response.
//   - v3 (KIP-784): an error code for the whole response.
//   - v4 (KIP-827): the size of the volume and its free space.
//   - v5 (KIP-1066): whether the directory is cordoned; never.
//   - IsFutureKey: a copy of a replica that moves to this directory, see AlterReplicaLogDirs. Its
//     lag is the distance to the replica's log end offset. It counts whole segments until the last
//     one is copied.
//
// Not implemented: authorization.
func (b *Broker) describeLogDirs(ctx context.Context, _ *Request, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	wanted := wantedLogs(req)
	for _, usage := range b.partitions.DirUsage() {
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir, dir.TotalBytes, dir.UsableBytes = usage.Path, usage.TotalBytes, usage.UsableBytes
		if usage.Err != nil {
			dir.ErrorCode = b.code(ctx, usage.Err)
		} else {
			dir.Topics = b.describeLogs(usage, wanted)
		}
		resp.Dirs = append(resp.Dirs, dir)
	}
	if b.bucketProblems != nil {
		protocol.TagTierProblems(&resp.UnknownTags, tierProblems(b.bucketProblems()))
	}
	return resp
}

// wantedLogs returns a function that reports whether the request asks for a log.
func wantedLogs(req *kmsg.DescribeLogDirsRequest) func(l *storage.Log) bool {
	if req.Topics == nil {
		return func(*storage.Log) bool { return true }
	}
	wanted := map[metadata.TopicPartition]bool{}
	for _, t := range req.Topics {
		for _, number := range t.Partitions {
			wanted[metadata.TopicPartition{Topic: t.Topic, Partition: number}] = true
		}
	}
	return func(l *storage.Log) bool {
		return wanted[metadata.TopicPartition{Topic: l.Topic(), Partition: l.Partition()}]
	}
}

func (b *Broker) describeLogs(usage storage.DirUsage, wanted func(*storage.Log) bool) []kmsg.DescribeLogDirsResponseDirTopic {
	var topics []kmsg.DescribeLogDirsResponseDirTopic
	at := map[string]int{}
	add := func(l *storage.Log, describe func() kmsg.DescribeLogDirsResponseDirTopicPartition) {
		if !wanted(l) {
			return
		}
		i, ok := at[l.Topic()]
		if !ok {
			i = len(topics)
			at[l.Topic()] = i
			topic := kmsg.NewDescribeLogDirsResponseDirTopic()
			topic.Topic = l.Topic()
			topics = append(topics, topic)
		}
		topics[i].Partitions = append(topics[i].Partitions, describe())
	}
	for _, l := range usage.Logs {
		add(l, func() kmsg.DescribeLogDirsResponseDirTopicPartition { return b.describeLog(l) })
	}
	for _, f := range usage.Futures {
		add(f.Log, func() kmsg.DescribeLogDirsResponseDirTopicPartition { return describeFuture(f) })
	}
	return topics
}

func (b *Broker) describeLog(l *storage.Log) kmsg.DescribeLogDirsResponseDirTopicPartition {
	answer := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	answer.Partition, answer.Size = l.Partition(), l.Size()
	answer.OffsetLag = max(l.HighWatermark()-l.EndOffset(), 0)
	p, ok := b.partitions.PartitionByID(l.TopicID(), l.Partition())
	if !ok {
		return answer
	}
	if status, tiered := p.TierStatus(); tiered {
		stats := protocol.TierStats{
			RemoteBytes: status.Bytes, RemoteSegments: int32(status.Segments), PendingBytes: status.LagBytes, LastUpload: -1,
			PendingSegments: int32(min(status.LagSegments, math.MaxInt32)),
			State:           string(status.State),
		}
		if !status.LastUpload.IsZero() {
			stats.LastUpload = status.LastUpload.UnixMilli()
		}
		stats.Tags(&answer.UnknownTags)
		protocol.TagTierProblems(&answer.UnknownTags, tierProblems(status.Problems))
	}
	return answer
}

func tierProblems(problems []tiering.Problem) []protocol.TierProblem {
	told := make([]protocol.TierProblem, len(problems))
	for i, p := range problems {
		told[i] = protocol.TierProblem{Kind: p.Kind, Object: p.Object, Count: p.Count, Since: p.Since.UnixMilli(), Text: p.Err.Error()}
	}
	return told
}
