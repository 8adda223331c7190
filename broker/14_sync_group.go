package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// SyncGroup gives the leader's assignment to the group and each member its part of it. Versions 0-5. It waits for the leader; the request's
// bytes are kept by the group, so its frame is not used again.
//
//   - v3 (KIP-345): static members.
//   - v5 (KIP-559): protocol type and name.
//
// Not implemented: authorization.
func (b *Broker) syncGroup(ctx context.Context, _ *Request, req *kmsg.SyncGroupRequest) kmsg.Response {
	return b.groups.SyncGroup(ctx, req)
}
