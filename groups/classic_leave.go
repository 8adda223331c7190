package groups

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaveBatched is the version from which LeaveGroup names several members (KIP-345).
const leaveBatched = 3

// LeaveGroup takes members out of a group: the caller itself, or static members
// that an administrator names by instance id. Versions 0-5.
func (c *Coordinator) LeaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.Version = req.Version
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	leavers := req.Members
	if req.Version < leaveBatched {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		leavers = []kmsg.LeaveGroupRequestMember{one}
	}
	left, err := call[[]kmsg.LeaveGroupResponseMember](ctx, c, req.Group, exclusive(req.Group, func(s *shard, now time.Time, w *waiter) decision {
		return s.leave(req.Group, leavers, now, w)
	}))
	switch {
	case err != nil:
		resp.ErrorCode = c.code(ctx, err)
	case req.Version < leaveBatched:
		resp.ErrorCode = left[0].ErrorCode
	default:
		resp.Members = left
	}
	return resp
}

func (s *shard) leave(groupID string, leavers []kmsg.LeaveGroupRequestMember, now time.Time, w *waiter) decision {
	results := make([]kmsg.LeaveGroupResponseMember, len(leavers))
	for i, l := range leavers {
		results[i] = kmsg.NewLeaveGroupResponseMember()
		results[i].MemberID, results[i].InstanceID, results[i].ErrorCode = l.MemberID, l.InstanceID, kerr.UnknownMemberID.Code
	}
	g, ok := s.classic(groupID)
	if !ok {
		return answer(w, results)
	}
	t := s.begin(g, now)
	lost := false
	for i, l := range leavers {
		results[i].ErrorCode = t.letGo(l)
		lost = lost || results[i].ErrorCode == 0
	}
	t.d.Reply(w, results)
	if lost {
		switch t.g.state {
		case stable, completing:
			t.rebalance("members left")
		case preparing:
			t.completeUnlessInitial()
		default: // empty: a pending member left
		}
	}
	return t.done()
}

// letGo removes one member and returns the error code for it.
func (t *transition) letGo(l kmsg.LeaveGroupRequestMember) int16 {
	id := l.MemberID
	_, isPending := t.g.pending[id]
	switch {
	case id == "":
		static, ok := "", false
		if l.InstanceID != nil {
			static, ok = t.g.static[*l.InstanceID]
		}
		if !ok {
			return kerr.UnknownMemberID.Code
		}
		id = static
	case isPending:
	default:
		if code := t.g.check(id, l.InstanceID); code != 0 {
			return code
		}
	}
	reason := "not provided"
	if l.Reason != nil {
		reason = *l.Reason
	}
	t.log("member left", slog.String("member", id), slog.String("reason", reason))
	t.remove(id)
	return 0
}
