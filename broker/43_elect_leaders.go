package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// ElectLeaders elects leaders of partitions, each independently. Versions 0-2. Any broker serves
// it.
//
//   - v0: the preferred replicas, if they are in sync.
//   - v1 (KIP-460): or, for a partition without a leader, any live replica; the records that this
//     replica does not have are lost. Also an error for the whole request.
//   - Null topics mean all partitions. Partitions that need no election are then left out of the
//     response.
//
// Not implemented: authorization.
func (b *Broker) electLeaders(ctx context.Context, _ *Request, req *kmsg.ElectLeadersRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	kind := metadata.ElectionType(req.ElectionType)
	if kind != metadata.PreferredElection && kind != metadata.UncleanElection {
		resp.ErrorCode = b.code(ctx, fmt.Errorf("unknown election type %d: %w", req.ElectionType, errInvalidRequest))
		return resp
	}
	named, all := partitionsOf(req.Topics, electedPartitions), req.Topics == nil
	if all {
		named = b.admin.AllPartitions()
	}
	for i, err := range b.admin.ElectLeaders(ctx, kind, named) {
		if all && errors.Is(err, metadata.ErrElectionNotNeeded) {
			continue
		}
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != named[i].Topic {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = named[i].Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition = named[i].Partition
		p.ErrorCode, p.ErrorMessage = b.codeAndMessage(ctx, err)
		last := &resp.Topics[len(resp.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	return resp
}

func electedPartitions(t *kmsg.ElectLeadersRequestTopic) (string, []int32) {
	return t.Topic, t.Partitions
}

// partitionsOf flattens a request's list of topics. For no topics it returns an empty slice, not
// nil.
func partitionsOf[T any](topics []T, of func(*T) (topic string, partitions []int32)) []metadata.TopicPartition {
	tps := []metadata.TopicPartition{}
	for i := range topics {
		topic, partitions := of(&topics[i])
		for _, p := range partitions {
			tps = append(tps, metadata.TopicPartition{Topic: topic, Partition: p})
		}
	}
	return tps
}
