package groups

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeNotFound is the version from which DescribeGroups has an error for a
// group that is not there (KIP-1043); before, it is Dead.
const describeNotFound = 6

// DescribeGroups shows classic groups with their members. Versions 0-6. The
// authorized operations are the caller's to fill in.
func (c *Coordinator) DescribeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.Version = req.Version
	for _, id := range req.Groups {
		g, err := call[kmsg.DescribeGroupsResponseGroup](ctx, c, id, read(func(s *shard, _ time.Time, w *waiter) decision {
			return answer(w, s.describe(id, req.Version))
		}))
		if err != nil {
			g = kmsg.NewDescribeGroupsResponseGroup()
			g.Group, g.ErrorCode = id, c.code(ctx, err)
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}

func (s *shard) describe(id string, version int16) kmsg.DescribeGroupsResponseGroup {
	d := kmsg.NewDescribeGroupsResponseGroup()
	d.Group = id
	g, ok := s.classic(id)
	if !ok {
		d.State = string(dead)
		if version >= describeNotFound {
			message := "Group " + id + " not found."
			if s.groups[id] != nil {
				message = "Group " + id + " is not a classic group."
			}
			d.ErrorCode, d.ErrorMessage = kerr.GroupIDNotFound.Code, &message
		}
		return d
	}
	d.State, d.ProtocolType = string(g.state), g.protocolType
	if g.state == stable && g.protocol != nil {
		d.Protocol = *g.protocol
	}
	for _, m := range g.ordered() {
		dm := kmsg.NewDescribeGroupsResponseGroupMember()
		dm.MemberID, dm.InstanceID, dm.ClientID, dm.ClientHost = m.id, m.instanceID, m.clientID, m.clientHost
		dm.MemberAssignment = m.assignment
		if g.state == stable {
			dm.ProtocolMetadata = m.metadata(g.protocol)
		}
		d.Members = append(d.Members, dm)
	}
	return d
}
