package groups

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// Heartbeat keeps a member's session, and tells it when to join again. Versions
// 0-4. While the group is loading there is nothing to be said against it.
func (c *Coordinator) Heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.Version = req.Version
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	code, err := call[int16](ctx, c, req.Group, shared(req.Group, func(s *shard, _ time.Time, w *waiter) decision {
		return s.heartbeat(req, w)
	}))
	switch {
	case errors.Is(err, coordinator.ErrLoading):
	case err != nil:
		resp.ErrorCode = c.code(ctx, err)
	default:
		resp.ErrorCode = code
	}
	return resp
}

func (s *shard) heartbeat(req *kmsg.HeartbeatRequest, w *waiter) decision {
	g, ok := s.classic(req.Group)
	if !ok {
		return answer(w, kerr.UnknownMemberID.Code)
	}
	if code := g.check(req.MemberID, req.InstanceID); code != 0 {
		return answer(w, code)
	}
	if req.Generation != g.generation {
		return answer(w, kerr.IllegalGeneration.Code)
	}
	var d decision
	d.SetTimer(sessionTimer(g.id, req.MemberID, g.members[req.MemberID].sessionTimeout))
	code := int16(0)
	if g.state == preparing {
		code = kerr.RebalanceInProgress.Code
	}
	d.Reply(w, code)
	return d
}
