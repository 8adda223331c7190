package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// AlterPartitionReassignments gives partitions other replicas, or cancels that, for each partition
// independently. Versions 0-1 (KIP-455). Any broker serves it.
//
//   - The response is sent when the reassignments have begun. New replicas catch up first. The old
//     ones are removed when the whole target is in sync.
//   - Null replicas cancel a reassignment that is in progress.
//   - v1 (KIP-860): the client may forbid a change of the number of replicas.
//
// Not implemented: authorization.
func (b *Broker) alterPartitionReassignments(ctx context.Context, _ *Request, req *kmsg.AlterPartitionAssignmentsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	var reassignments []metadata.Reassignment
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			reassignments = append(reassignments, metadata.Reassignment{
				TopicPartition: metadata.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				Replicas:       p.Replicas, Cancel: p.Replicas == nil, AllowFactorChange: req.AllowReplicationFactorChange,
			})
		}
	}
	errs := b.admin.AlterPartitionReassignments(ctx, reassignments)
	for _, t := range req.Topics {
		answer := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		answer.Topic = t.Topic
		for _, p := range t.Partitions {
			ap := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			ap.Partition = p.Partition
			ap.ErrorCode, ap.ErrorMessage = b.codeAndMessage(ctx, errs[0])
			errs = errs[1:]
			answer.Partitions = append(answer.Partitions, ap)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}
