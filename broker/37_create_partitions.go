package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// CreatePartitions adds partitions to topics, each independently. Versions 0-3 (KIP-195). It waits
// as CreateTopics does.
//
// Not implemented: authorization, quotas (v3, KIP-599).
func (b *Broker) createPartitions(ctx context.Context, _ *Request, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	count := make(map[string]int, len(req.Topics))
	for _, t := range req.Topics {
		count[t.Topic]++
	}
	specs := make([]metadata.PartitionsSpec, 0, len(req.Topics))
	for _, t := range req.Topics {
		switch n := count[t.Topic]; {
		case n == 1:
			spec := metadata.PartitionsSpec{Topic: t.Topic, Count: t.Count}
			for _, a := range t.Assignment {
				spec.Assignments = append(spec.Assignments, a.Replicas)
			}
			specs = append(specs, spec)
		case n > 1:
			count[t.Topic] = 0 // answered once
			resp.Topics = append(resp.Topics, b.createdPartitions(ctx, t.Topic, fmt.Errorf("duplicate topic name: %w", errInvalidRequest)))
		}
	}
	if len(specs) == 0 {
		return resp
	}
	results := b.admin.CreatePartitions(ctx, specs, req.ValidateOnly)
	if !req.ValidateOnly {
		b.awaitServed(ctx, results)
	}
	for _, r := range results {
		resp.Topics = append(resp.Topics, b.createdPartitions(ctx, r.Name, r.Err))
	}
	return resp
}

func (b *Broker) createdPartitions(ctx context.Context, topic string, err error) kmsg.CreatePartitionsResponseTopic {
	answer := kmsg.NewCreatePartitionsResponseTopic()
	answer.Topic = topic
	answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, err)
	return answer
}
