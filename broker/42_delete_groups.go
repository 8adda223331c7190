package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroups deletes groups without members, and their offsets. Versions 0-2 (KIP-229).
//
// Not implemented: authorization.
func (b *Broker) deleteGroups(ctx context.Context, _ *Request, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	return b.groups.DeleteGroups(ctx, req)
}
