package groups

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// ListGroups lists the groups that are coordinated here, by state (v4) and type
// (v5) if the request says so. Versions 0-5. As long as any partition is loading
// the answer is COORDINATOR_LOAD_IN_PROGRESS: a part would look like the whole.
func (c *Coordinator) ListGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := kmsg.NewPtrListGroupsResponse()
	resp.Version = req.Version
	states, types := lowered(req.StatesFilter), lowered(req.TypesFilter)
	var waiters []*waiter
	for _, p := range c.runtime.Partitions() {
		w, err := c.runtime.Submit(p, read(func(s *shard, _ time.Time, w *waiter) decision { return answer(w, s.list(states, types)) }))
		switch {
		case errors.Is(err, coordinator.ErrNotCoordinator): // resigned meanwhile
		case err != nil:
			resp.ErrorCode = c.code(ctx, err)
			return resp
		default:
			waiters = append(waiters, w)
		}
	}
	for _, w := range waiters {
		list, err := await[[]kmsg.ListGroupsResponseGroup](ctx, w)
		switch {
		case errors.Is(err, coordinator.ErrNotCoordinator):
		case err != nil:
			resp.Groups, resp.ErrorCode = nil, c.code(ctx, err)
			return resp
		default:
			resp.Groups = append(resp.Groups, list...)
		}
	}
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
	return resp
}

// lowered is a filter, which does not mind upper and lower case.
func lowered(filter []string) map[string]bool {
	set := make(map[string]bool, len(filter))
	for _, f := range filter {
		set[strings.ToLower(f)] = true
	}
	return set
}

func (s *shard) list(states, types map[string]bool) []kmsg.ListGroupsResponseGroup {
	var list []kmsg.ListGroupsResponseGroup
	for id, g := range s.groups {
		if (len(states) > 0 && !states[strings.ToLower(g.stateName())]) || (len(types) > 0 && !types[string(g.groupType())]) {
			continue
		}
		l := kmsg.NewListGroupsResponseGroup()
		l.Group, l.ProtocolType, l.GroupState, l.GroupType = id, g.protocolKind(), g.stateName(), string(g.groupType())
		list = append(list, l)
	}
	return list
}
