package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// SyncGroup passes the leader's assignment to the group, and to each member its part of it.
// Versions 0-5. It waits for the leader. The group keeps the request's bytes, so its frame is not
// reused.
//
//   - v3 (KIP-345): static members.
//   - v5 (KIP-559): protocol type and name.
//
// Not implemented: authorization.
func (b *Broker) syncGroup(ctx context.Context, _ *Request, req *kmsg.SyncGroupRequest) kmsg.Response {
	return b.groups.SyncGroup(ctx, req)
}
