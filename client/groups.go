package client

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// GroupListing is one group of a list.
type GroupListing struct {
	Name         string
	State        string
	ProtocolType string
	Coordinator  int32
}

// Group is a group with its members and its position in each partition.
type Group struct {
	Name        string
	State       string
	Protocol    string // the assignor
	Coordinator int32
	Members     []GroupMember
	Partitions  []GroupPartition // sorted by topic and number
}

// GroupMember is one member of a group.
type GroupMember struct {
	ID         string
	InstanceID string // of a static member
	ClientID   string
	Host       string
}

// GroupPartition is a partition in which a group has an offset or a member.
type GroupPartition struct {
	Topic     string
	Partition int32
	Committed int64 // the next offset to read; -1: none was committed
	End       int64 // of the log; -1 if Err is not nil
	Lag       int64 // -1: unknown
	Member    *GroupMember
	Err       error
}

// Groups lists all groups by name.
func (c *Client) Groups(ctx context.Context) ([]GroupListing, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	listed, err := c.admin.ListGroups(ctx)
	sorted := listed.Sorted()
	all := make([]GroupListing, 0, len(sorted))
	for _, g := range sorted {
		all = append(all, GroupListing{Name: g.Group, State: g.State, ProtocolType: g.ProtocolType, Coordinator: g.Coordinator})
	}
	return all, c.Explain(err)
}

// DescribeGroups describes groups, by name, with the lag of each partition.
func (c *Client) DescribeGroups(ctx context.Context, names ...string) ([]Group, error) {
	if len(names) == 0 {
		return nil, nil // kadm treats it as all groups
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	lags, err := c.admin.Lag(ctx, names...)
	if err != nil {
		return nil, c.Explain(err)
	}
	var groups []Group
	var failed []error
	for _, l := range lags.Sorted() {
		// Older versions report a missing group as dead.
		gone := l.DescribeErr == nil && l.State == "Dead" && len(l.Members) == 0
		switch {
		case gone:
			failed = append(failed, c.about("group "+l.Group, "", kerr.GroupIDNotFound))
		case l.Error() != nil:
			failed = append(failed, c.about("group "+l.Group, "", l.Error()))
		default:
			groups = append(groups, groupOf(l))
		}
	}
	return groups, errors.Join(failed...)
}

func groupOf(l kadm.DescribedGroupLag) Group {
	g := Group{Name: l.Group, State: l.State, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID}
	members := make(map[string]*GroupMember, len(l.Members))
	g.Members = make([]GroupMember, len(l.Members))
	for i, m := range l.Members {
		g.Members[i] = GroupMember{ID: m.MemberID, ClientID: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
		if m.InstanceID != nil {
			g.Members[i].InstanceID = *m.InstanceID
		}
		members[m.MemberID] = &g.Members[i]
	}
	for _, p := range l.Lag.Sorted() {
		partition := GroupPartition{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, End: p.End.Offset, Lag: p.Lag, Err: p.Err}
		if p.Member != nil {
			partition.Member = members[p.Member.MemberID]
		}
		if p.Err != nil {
			partition.End, partition.Lag = -1, -1
		}
		g.Partitions = append(g.Partitions, partition)
	}
	return g
}
