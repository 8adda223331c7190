package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinGroup makes a client a member of a classic group and waits for the rebalance that this starts. Versions 0-9. The request's bytes are
// kept by the group, so its frame is not used again.
//
//   - v4 (KIP-394): a new member first gets MEMBER_ID_REQUIRED and its id.
//   - v5 (KIP-345): static members.
//   - v7 (KIP-559): the protocol type in the response; v8 (KIP-800): the reason why; v9 (KIP-814): a leader may be told to skip the assignment.
//
// Not implemented: authorization.
func (b *Broker) joinGroup(ctx context.Context, r *Request, req *kmsg.JoinGroupRequest) kmsg.Response {
	return b.groups.JoinGroup(ctx, req, r.groupClient())
}
