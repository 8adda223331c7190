package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// FindCoordinator returns the broker that coordinates a group. Versions 0-6. The first call creates
// __consumer_offsets.
//
//   - v1 (KIP-98): key types; only groups here.
//   - v4 (KIP-699): many keys at once.
//   - v5 (KIP-890) adds an error code for transactions, v6 (KIP-932) the key type of share groups.
//
// Not implemented: transactions and share groups. Their key types get INVALID_REQUEST with a text,
// which clients treat as final and show. After COORDINATOR_NOT_AVAILABLE they would retry until
// their own timeout. Not implemented: authorization.
func (b *Broker) findCoordinator(ctx context.Context, r *Request, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	for _, key := range keys {
		resp.Coordinators = append(resp.Coordinators, b.coordinator(ctx, r.Listener, req.CoordinatorType, key))
	}
	if req.Version < 4 {
		c := resp.Coordinators[0]
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
		resp.Coordinators = nil
	}
	return resp
}

func (b *Broker) coordinator(ctx context.Context, listener string, keyType int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, metadata.NoBroker, -1
	id, at, err := b.groupCoordinator(ctx, listener, keyType, key)
	if err != nil {
		c.ErrorCode, c.ErrorMessage = b.codeAndMessage(ctx, err)
		return c
	}
	c.NodeID, c.Host, c.Port = id, at.Host, at.Port
	return c
}

const (
	coordinatorOfGroup       = 0
	coordinatorOfTransaction = 1
	coordinatorOfShare       = 2
)

func (b *Broker) groupCoordinator(ctx context.Context, listener string, keyType int8, key string) (int32, metadata.Listener, error) {
	none := metadata.NoBroker
	switch keyType {
	case coordinatorOfGroup:
	case coordinatorOfTransaction:
		return none, metadata.Listener{}, fmt.Errorf("transactions are not supported yet: %w", errInvalidRequest)
	case coordinatorOfShare:
		return none, metadata.Listener{}, fmt.Errorf("share groups are not supported yet: %w", errInvalidRequest)
	default:
		return none, metadata.Listener{}, fmt.Errorf("coordinator key type %d: %w", keyType, errInvalidRequest)
	}
	topic, err := b.ensureOffsetsTopic(ctx)
	if err != nil {
		return none, metadata.Listener{}, err
	}
	number := b.groups.PartitionFor(key)
	p, ok := topic.Partition(number)
	if !ok {
		return none, metadata.Listener{}, fmt.Errorf("%s has no partition %d: %w", offsetsTopic, number, errCoordinatorNotReady)
	}
	leader, ok := b.cluster.Image().Leader(p)
	if !ok {
		return none, metadata.Listener{}, fmt.Errorf("%s-%d has no leader: %w", offsetsTopic, number, errCoordinatorNotReady)
	}
	at, ok := leader.Listener(listener)
	if !ok {
		return none, metadata.Listener{}, fmt.Errorf("broker %d has no listener %s: %w", leader.ID, listener, errCoordinatorNotReady)
	}
	return leader.ID, at, nil
}
