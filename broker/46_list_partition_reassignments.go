package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// ListPartitionReassignments lists the reassignments that are in progress. Version 0 (KIP-455). Any
// broker serves it.
//
//   - Null topics mean all of them. A partition that is not being reassigned, or does not exist, is
//     left out.
//
// Not implemented: authorization.
func (b *Broker) listPartitionReassignments(_ context.Context, _ *Request, req *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	var tps []metadata.TopicPartition // nil: all
	if req.Topics != nil {
		tps = partitionsOf(req.Topics, listedPartitions)
	}
	for _, r := range b.admin.ListReassignments(tps) {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != r.Topic {
			t := kmsg.NewListPartitionReassignmentsResponseTopic()
			t.Topic = r.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas = r.Partition, r.Replicas, r.Adding, r.Removing
		last := &resp.Topics[len(resp.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	return resp
}

func listedPartitions(t *kmsg.ListPartitionReassignmentsRequestTopic) (string, []int32) {
	return t.Topic, t.Partitions
}
