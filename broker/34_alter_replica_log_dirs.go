package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// AlterReplicaLogDirs moves replicas on this broker between its log directories. Versions 1-2
// (KIP-113), which differ in encoding alone.
//
//   - The response is sent when the request is on the disk. DescribeLogDirs shows the copy
//     (IsFutureKey) until the replica has moved.
//   - The directory that the replica is in cancels a move in progress. Another directory replaces
//     its target.
//   - REPLICA_NOT_AVAILABLE: the partition has no replica here. If this broker gets one before it
//     restarts, the replica is made in that directory; kafka-reassign-partitions relies on this.
//   - KAFKA_STORAGE_ERROR: the directory or the replica is offline. Unlike in Kafka, also while
//     another directory is.
//   - Two names are not directories: with them the leader rebuilds the pointer of the partition's
//     remote tier from the bucket, or only reports what a rebuild would do
//     (protocol.DirTierRebuild). In v2 a tagged field has the findings (protocol.TierRebuild).
//     RESOURCE_NOT_FOUND: the bucket has no complete manifest.
//
// Not implemented: authorization.
func (b *Broker) alterReplicaLogDirs(ctx context.Context, _ *Request, req *kmsg.AlterReplicaLogDirsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	at := map[string]int{}
	for _, dir := range req.Dirs {
		for _, t := range dir.Topics {
			i, ok := at[t.Topic]
			if !ok {
				i = len(resp.Topics)
				at[t.Topic] = i
				topic := kmsg.NewAlterReplicaLogDirsResponseTopic()
				topic.Topic = t.Topic
				resp.Topics = append(resp.Topics, topic)
			}
			for _, number := range t.Partitions {
				answer := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				answer.Partition = number
				tp := metadata.TopicPartition{Topic: t.Topic, Partition: number}
				switch dir.Dir {
				case protocol.DirTierRebuild, protocol.DirTierRebuildDryRun:
					b.rebuildTier(ctx, tp, dir.Dir == protocol.DirTierRebuildDryRun, &answer)
				default:
					answer.ErrorCode = b.code(ctx, b.moveReplica(tp, dir.Dir))
				}
				resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, answer)
			}
		}
	}
	return resp
}

func (b *Broker) moveReplica(tp metadata.TopicPartition, dir string) error {
	if _, ok := b.cluster.Image().Partition(tp); !ok {
		return fmt.Errorf("%s: %w", tp, metadata.ErrUnknownTopic)
	}
	err := b.partitions.MoveLog(tp, dir)
	if errors.Is(err, storage.ErrLogClosed) {
		return fmt.Errorf("%w: %w", storage.ErrNoLog, err) // deleted a moment ago
	}
	return err
}

// rebuildTier rebuilds, or checks a rebuild of, the tier of one partition and fills in its answer.
func (b *Broker) rebuildTier(ctx context.Context, tp metadata.TopicPartition, dryRun bool, answer *kmsg.AlterReplicaLogDirsResponseTopicPartition) {
	found, err := b.rebuiltTier(ctx, tp, dryRun)
	answer.ErrorCode = b.code(ctx, err)
	told := protocol.TierRebuild{
		Was: found.Was, Manifest: found.Manifest, Changed: found.Changed,
		StartOffset: found.StartOffset, EndOffset: found.EndOffset, Segments: found.Segments, Bytes: found.Bytes,
	}
	for _, s := range found.Skipped {
		told.Skipped = append(told.Skipped, protocol.TierSkipped{Manifest: s.Manifest, Why: s.Err.Error()})
	}
	if err != nil {
		told.Error = err.Error()
	}
	told.Tag(&answer.UnknownTags)
}

func (b *Broker) rebuiltTier(ctx context.Context, tp metadata.TopicPartition, dryRun bool) (tiering.Rebuilt, error) {
	if _, ok := b.cluster.Image().Partition(tp); !ok {
		return tiering.Rebuilt{}, fmt.Errorf("%s: %w", tp, metadata.ErrUnknownTopic)
	}
	p, ok := b.partitions.Partition(tp)
	if !ok {
		return tiering.Rebuilt{}, fmt.Errorf("%s: %w", tp, replication.ErrNotLeader)
	}
	return p.RebuildTier(ctx, dryRun)
}

// describeFuture describes the copy of a replica in the directory that it moves to.
func describeFuture(f storage.FutureLog) kmsg.DescribeLogDirsResponseDirTopicPartition {
	answer := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	answer.Partition, answer.Size, answer.IsFuture = f.Log.Partition(), f.Bytes, true
	answer.OffsetLag = max(f.Log.EndOffset()-f.EndOffset, 0)
	return answer
}
