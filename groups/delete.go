package groups

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteGroups deletes groups that have no members, with their offsets. Versions 0-2.
func (c *Coordinator) DeleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Version = req.Version
	for _, id := range req.Groups {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group = id
		code, err := call[int16](ctx, c, id, exclusive(id, func(s *shard, _ time.Time, w *waiter) decision { return s.deleteGroup(id, w) }))
		if g.ErrorCode = code; err != nil {
			g.ErrorCode = c.code(ctx, err)
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}

func (s *shard) deleteGroup(id string, w *waiter) decision {
	g, ok := s.groups[id]
	switch {
	case !ok:
		return answer(w, kerr.GroupIDNotFound.Code)
	case g.stateName() != string(empty):
		return answer(w, kerr.NonEmptyGroup.Code)
	}
	var d decision
	for _, topic := range slices.Sorted(maps.Keys(s.offsets[id])) {
		d.Records = append(d.Records, topicTombstones(id, topic, s.offsets[id][topic])...)
	}
	d.Records = append(d.Records, groupTombstone(id))
	d.Reply(w, int16(0))
	return d
}
