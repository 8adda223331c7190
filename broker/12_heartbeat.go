package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Heartbeat keeps a member in its group and reports a rebalance to it. Versions 0-4.
//
//   - v3 (KIP-345): static members.
//
// Not implemented: authorization.
func (b *Broker) heartbeat(ctx context.Context, _ *Request, req *kmsg.HeartbeatRequest) kmsg.Response {
	return b.groups.Heartbeat(ctx, req)
}
