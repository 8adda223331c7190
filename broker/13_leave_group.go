package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// LeaveGroup removes members from a group. Versions 0-5.
//
//   - v3 (KIP-345): many members at once, by instance id too.
//   - v5 (KIP-800): the reason for leaving.
//
// Not implemented: authorization.
func (b *Broker) leaveGroup(ctx context.Context, _ *Request, req *kmsg.LeaveGroupRequest) kmsg.Response {
	return b.groups.LeaveGroup(ctx, req)
}
