package groups

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// syncNamesProtocol is the version from which SyncGroup must name the protocol
// type and the protocol (KIP-559).
const syncNamesProtocol = 5

// SyncGroup gives a member its assignment, once the leader has sent all of them
// and they are stored. Versions 0-5.
func (c *Coordinator) SyncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := c.syncGroup(ctx, req)
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) syncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	switch {
	case req.Version >= syncNamesProtocol && (req.ProtocolType == nil || req.Protocol == nil):
		return syncFailure(kerr.InconsistentGroupProtocol.Code)
	case req.Group == "":
		return syncFailure(kerr.InvalidGroupID.Code)
	}
	assignments := make(map[string][]byte, len(req.GroupAssignment))
	for _, a := range req.GroupAssignment {
		assignments[a.MemberID] = bytes.Clone(a.MemberAssignment)
	}
	resp, err := call[*kmsg.SyncGroupResponse](ctx, c, req.Group, exclusive(req.Group, func(s *shard, now time.Time, w *waiter) decision {
		return s.sync(req, assignments, now, w)
	}))
	if err != nil {
		return syncFailure(c.code(ctx, err))
	}
	return resp
}

func (s *shard) sync(req *kmsg.SyncGroupRequest, assignments map[string][]byte, now time.Time, w *waiter) decision {
	g, ok := s.classic(req.Group)
	if !ok {
		return answer(w, syncFailure(kerr.UnknownMemberID.Code))
	}
	if code := g.checkSync(req); code != 0 {
		return answer(w, syncFailure(code))
	}
	t := s.begin(g, now)
	m := t.g.members[req.MemberID]
	delete(t.g.unsynced, m.id)
	if len(t.g.unsynced) == 0 {
		t.d.CancelTimer(syncKey(g.id))
	}
	if t.g.state == stable {
		t.d.Reply(w, t.g.synced(m))
		return t.done()
	}
	t.failSync(m, kerr.RebalanceInProgress.Code) // an earlier request of its own
	m.sync = w
	if m.id == t.g.leader {
		t.assign(assignments)
	}
	return t.done()
}

func (g *classicGroup) checkSync(req *kmsg.SyncGroupRequest) int16 {
	if code := g.check(req.MemberID, req.InstanceID); code != 0 {
		return code
	}
	switch {
	case req.Generation != g.generation:
		return kerr.IllegalGeneration.Code
	case req.ProtocolType != nil && g.protocolType != "" && *req.ProtocolType != g.protocolType,
		req.Protocol != nil && g.protocol != nil && *req.Protocol != *g.protocol:
		return kerr.InconsistentGroupProtocol.Code
	case g.state == preparing:
		return kerr.RebalanceInProgress.Code
	}
	return 0
}

// assign takes the leader's assignments, stores them and tells all who wait. A
// member that the leader left out gets nothing.
func (t *transition) assign(assignments map[string][]byte) {
	g := t.g
	g.moveTo(stable, t.now)
	for _, m := range g.members {
		m.assignment = assignments[m.id]
	}
	t.save()
	for _, m := range g.ordered() {
		if m.sync == nil {
			continue
		}
		t.d.Reply(m.sync, g.synced(m))
		m.sync = nil
		t.heard(m)
	}
	t.log("assigned", slog.Int("members", len(g.members)))
	t.d.Then = func(s *shard) { s.metrics.rebalances.Inc() }
}

func (g *classicGroup) synced(m *member) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.Protocol, resp.MemberAssignment = g.protocol, m.assignment
	if g.protocolType != "" {
		resp.ProtocolType = &g.protocolType
	}
	return resp
}
