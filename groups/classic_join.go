package groups

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ClientInfo is who a request came from, as groups show it.
type ClientInfo struct {
	// ID is the client id of the request header; "" if it has none.
	ID string
	// Host is the peer's address as Kafka prints it: a slash and the IP.
	Host string
}

// joinRequest is a JoinGroup request in the coordinator's own terms.
type joinRequest struct {
	groupID          string
	memberID         string // "" of a new member
	newID            string // for a new member
	instanceID       *string
	client           ClientInfo
	version          int16
	protocolType     string
	protocols        []protocol
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	reason           string
}

// Versions at which JoinGroup changed what the broker does.
const (
	joinMemberIDRequired = 4 // KIP-394: a dynamic member first gets an id, then joins with it
	joinSkipAssignment   = 9 // KIP-814: a static leader that is back need not assign
)

// JoinGroup lets a member take part in the next generation of a classic group,
// and returns when that has begun. Versions 0-9. If ctx ends first the member
// has joined all the same, until its session expires.
func (c *Coordinator) JoinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, client ClientInfo) *kmsg.JoinGroupResponse {
	resp := c.joinGroup(ctx, req, client)
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) joinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, client ClientInfo) *kmsg.JoinGroupResponse {
	session := fromMillis(req.SessionTimeoutMillis)
	switch {
	case req.Group == "":
		return joinFailure(req.MemberID, kerr.InvalidGroupID.Code)
	case session < c.config.MinSessionTimeout || session > c.config.MaxSessionTimeout:
		return joinFailure(req.MemberID, kerr.InvalidSessionTimeout.Code)
	}
	r := &joinRequest{
		groupID: req.Group, memberID: req.MemberID, instanceID: req.InstanceID, client: client, version: req.Version,
		protocolType: req.ProtocolType, rebalanceTimeout: fromMillis(req.RebalanceTimeoutMillis), sessionTimeout: session,
		reason: "not provided",
	}
	if req.Version == 0 {
		r.rebalanceTimeout = session // the field came with v1
	}
	if req.Reason != nil {
		r.reason = *req.Reason
	}
	if r.memberID == "" {
		prefix := client.ID
		if r.instanceID != nil {
			prefix = *r.instanceID
		}
		r.newID = prefix + "-" + c.newUUID()
	}
	for _, p := range req.Protocols {
		r.protocols = append(r.protocols, protocol{name: p.Name, metadata: bytes.Clone(p.Metadata)})
	}
	resp, err := call[*kmsg.JoinGroupResponse](ctx, c, req.Group, exclusive(req.Group, func(s *shard, now time.Time, w *waiter) decision {
		return s.join(r, now, w)
	}))
	if err != nil {
		return joinFailure("", c.code(ctx, err))
	}
	return resp
}

func (s *shard) join(r *joinRequest, now time.Time, w *waiter) decision {
	g, ok := s.classic(r.groupID)
	var t *transition
	switch {
	case ok:
		t = s.begin(g, now)
	case s.groups[r.groupID] != nil:
		return answer(w, joinFailure("", kerr.InconsistentGroupProtocol.Code))
	case r.memberID != "":
		return answer(w, joinFailure(r.memberID, kerr.UnknownMemberID.Code))
	default:
		t = s.create(r.groupID, now)
	}
	if !t.accepts(r.memberID) {
		t.d.Reply(w, joinFailure("", kerr.GroupMaxSizeReached.Code))
		t.remove(r.memberID)
		t.completeUnlessInitial()
		return t.done()
	}
	if !t.g.supports(r.protocolType, r.protocols) {
		return answer(w, joinFailure(r.memberID, kerr.InconsistentGroupProtocol.Code))
	}
	if r.memberID == "" {
		return t.joinNew(r, w)
	}
	return t.joinKnown(r, w)
}

// accepts says whether there is room for the member. While members join again it
// is those who have that count, so that the last to come are too many.
func (t *transition) accepts(memberID string) bool {
	m, known := t.g.members[memberID]
	switch t.g.state {
	case empty:
		return true
	case preparing:
		return (known && m.join != nil) || t.g.awaitingJoin() < t.s.config.MaxSize
	default:
		return known || len(t.g.members) < t.s.config.MaxSize
	}
}

// joinNew is for a member without an id.
func (t *transition) joinNew(r *joinRequest, w *waiter) decision {
	switch {
	case r.instanceID != nil:
		if old, ok := t.g.static[*r.instanceID]; ok {
			return t.joinAgain(r, old, w)
		}
		t.add(r, r.newID, w)
	case r.version >= joinMemberIDRequired:
		t.g.pending[r.newID] = struct{}{}
		t.d.SetTimer(sessionTimer(t.g.id, r.newID, r.sessionTimeout))
		t.d.Reply(w, joinFailure(r.newID, kerr.MemberIDRequired.Code))
	default:
		t.add(r, r.newID, w)
	}
	return t.done()
}

// joinKnown is for a member that has an id.
func (t *transition) joinKnown(r *joinRequest, w *waiter) decision {
	g := t.g
	if _, ok := g.pending[r.memberID]; ok && r.instanceID == nil {
		t.add(r, r.memberID, w)
		return t.done()
	}
	if code := g.check(r.memberID, r.instanceID); code != 0 {
		return answer(w, joinFailure(r.memberID, code))
	}
	m := g.members[r.memberID]
	same := m.offers(r.protocols)
	switch {
	case g.state == completing && same:
		// It may not have got the answer to its first request.
		return answer(w, g.joined(m))
	case g.state == stable && same && m.id != g.leader:
		return answer(w, g.joined(m))
	default:
		// Also the leader of a stable group, which knows why: topics may have changed.
		t.update(m, r, w)
		t.rebalanceOrComplete("member joined again: " + r.reason)
		return t.done()
	}
}

// add puts a new member into the group. As long as it has not got its id it
// cannot send heartbeats; it is given a long time.
func (t *transition) add(r *joinRequest, id string, w *waiter) {
	g := t.g
	if g.state == preparing && g.previous == empty {
		g.grown = true
	}
	if len(g.members) == 0 {
		g.protocolType = r.protocolType
	}
	g.add(&member{
		id: id, instanceID: r.instanceID, clientID: r.client.ID, clientHost: r.client.Host,
		rebalanceTimeout: r.rebalanceTimeout, sessionTimeout: r.sessionTimeout, protocols: r.protocols,
		fresh: true, join: w,
	})
	t.log("member added", slog.String("member", id))
	t.d.SetTimer(sessionTimer(g.id, id, t.s.config.NewMemberJoinTimeout))
	t.rebalanceOrComplete("member joined: " + r.reason)
}

// update takes over what a known member says. A request of its own that waits
// already is answered: the connection it came by may still be read.
func (t *transition) update(m *member, r *joinRequest, w *waiter) {
	t.failJoin(m, m.id, kerr.RebalanceInProgress.Code)
	m.protocols, m.rebalanceTimeout, m.sessionTimeout, m.join = r.protocols, r.rebalanceTimeout, r.sessionTimeout, w
}

// joinAgain is for a static member that has been restarted: it gets a new id,
// which fences the process that has the old one, and keeps its assignment
// without a rebalance if nothing else changes (KIP-345).
func (t *transition) joinAgain(r *joinRequest, oldID string, w *waiter) decision {
	g := t.g
	oldLeader := g.leader
	m := g.members[oldID]
	t.failJoin(m, oldID, kerr.FencedInstanceID.Code)
	t.failSync(m, kerr.FencedInstanceID.Code)
	g.rename(m, r.newID)
	t.update(m, r, w)
	t.d.CancelTimer(heartbeatKey(g.id, oldID))
	t.heard(m)
	t.log("static member is back", slog.String("member", m.id), slog.String("instance", *r.instanceID))
	switch {
	case g.state == stable && g.protocol != nil && g.choose() == *g.protocol:
		m.join = nil
		resp := g.joined(m)
		if r.version >= joinSkipAssignment {
			resp.SkipAssignment = m.id == g.leader
		} else {
			// Not told that it leads, it does not assign.
			resp.LeaderID, resp.Members = oldLeader, nil
		}
		t.d.Reply(w, resp)
		t.save()
	case g.state == preparing:
		t.completeUnlessInitial()
	default:
		// The leader may have assigned to the old id already.
		t.rebalance("static member joined again: " + r.reason)
	}
	return t.done()
}

// rename gives a member another id.
func (g *classicGroup) rename(m *member, id string) {
	old := m.id
	delete(g.members, old)
	m.id, m.fresh = id, false
	g.members[id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = id
	}
	if g.leader == old {
		g.leader = id
	}
	if _, ok := g.unsynced[old]; ok {
		delete(g.unsynced, old)
		g.unsynced[id] = struct{}{}
	}
}
