package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinGroup makes a client a member of a classic group and waits for the rebalance that this
// starts. Versions 0-9. The group keeps the request's bytes, so its frame is not reused.
//
//   - v4 (KIP-394): a new member first gets MEMBER_ID_REQUIRED and its id.
//   - v5 (KIP-345): static members.
//   - v7 (KIP-559): the protocol type in the response; v8 (KIP-800): the reason for joining; v9
//     (KIP-814): the response can make the leader skip the assignment.
//
// Not implemented: authorization.
func (b *Broker) joinGroup(ctx context.Context, r *Request, req *kmsg.JoinGroupRequest) kmsg.Response {
	return b.groups.JoinGroup(ctx, req, r.groupClient())
}
