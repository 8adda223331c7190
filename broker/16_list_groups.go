package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups lists the groups that this broker coordinates. Versions 0-5.
//
//   - v4 (KIP-518): filter by state; v5 (KIP-848): by type. All groups here are classic.
//
// Not implemented: authorization.
func (b *Broker) listGroups(ctx context.Context, _ *Request, req *kmsg.ListGroupsRequest) kmsg.Response {
	return b.groups.ListGroups(ctx, req)
}
