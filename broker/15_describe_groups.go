package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeGroups returns the state and the members of classic groups. Versions 0-6.
//
//   - v3 (KIP-430): authorized operations.
//   - v4 (KIP-345): instance ids.
//   - v6 (KIP-1043): error messages, and GROUP_ID_NOT_FOUND for a missing group. In older versions
//     a missing group is shown as dead.
//
// Not implemented: authorization.
func (b *Broker) describeGroups(ctx context.Context, _ *Request, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := b.groups.DescribeGroups(ctx, req)
	for i := range resp.Groups {
		resp.Groups[i].AuthorizedOperations = operations(req.IncludeAuthorizedOperations && resp.Groups[i].ErrorCode == 0, groupOperations)
	}
	return resp
}
