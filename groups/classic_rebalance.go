package groups

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rebalanceOrComplete follows up a change of the members.
func (t *transition) rebalanceOrComplete(reason string) {
	if t.g.state == preparing {
		t.completeUnlessInitial()
		return
	}
	t.rebalance(reason)
}

// rebalanceAfterLoss follows up the removal of a member.
func (t *transition) rebalanceAfterLoss(reason string) {
	switch t.g.state {
	case stable, completing:
		t.rebalance(reason)
	default:
		t.completeIfAllJoined()
	}
}

// rebalance asks all members to join again. The first members of an empty group
// are given time for others to come.
func (t *transition) rebalance(reason string) {
	g := t.g
	t.log("rebalancing", slog.String("reason", reason))
	if g.state == completing {
		for _, m := range g.members {
			m.assignment = nil
			if m.sync != nil {
				t.failSync(m, kerr.RebalanceInProgress.Code)
				t.heard(m)
			}
		}
	}
	clear(g.unsynced)
	t.d.CancelTimer(syncKey(g.id))
	initial := g.state == empty
	g.moveTo(preparing, t.now)
	if initial {
		delay := t.s.config.InitialRebalanceDelay
		t.d.SetTimer(initialDelayTimer(g.id, delay, max(0, g.rebalanceTimeout()-delay)))
		return
	}
	if !g.allJoined() {
		t.awaitJoins()
		return
	}
	t.completeJoin()
}

// awaitJoins gives the members the rebalance timeout to join again.
func (t *transition) awaitJoins() {
	groupID := t.g.id
	t.d.SetTimer(timer{
		Key: joinKey(groupID), After: t.g.rebalanceTimeout(),
		Op: exclusive(groupID, func(s *shard, now time.Time, _ *waiter) decision {
			g, ok := s.classic(groupID)
			if !ok || g.state != preparing {
				return decision{}
			}
			t := s.begin(g, now)
			t.completeJoin()
			return t.done()
		}),
	})
}

// initialDelayTimer ends the initial delay, or extends it while members come:
// until their rebalance timeout has been used up.
func initialDelayTimer(groupID string, delay, remaining time.Duration) timer {
	return timer{
		Key: joinKey(groupID), After: delay,
		Op: exclusive(groupID, func(s *shard, now time.Time, _ *waiter) decision {
			g, ok := s.classic(groupID)
			if !ok || g.state != preparing {
				return decision{}
			}
			t := s.begin(g, now)
			if g.grown {
				t.g.grown = false
				t.d.SetTimer(initialDelayTimer(groupID, min(s.config.InitialRebalanceDelay, remaining), max(0, remaining-delay)))
			} else {
				t.completeJoin()
			}
			return t.done()
		}),
	}
}

// completeUnlessInitial ends the join phase if all members are there, but not
// the initial delay.
func (t *transition) completeUnlessInitial() {
	if t.g.previous != empty {
		t.completeIfAllJoined()
	}
}

func (t *transition) completeIfAllJoined() {
	if t.g.state == preparing && t.g.allJoined() {
		t.completeJoin()
	}
}

// completeJoin ends the join phase: who has not come is out, unless static, and
// the others get to know one another in the next generation.
func (t *transition) completeJoin() {
	g := t.g
	t.d.CancelTimer(joinKey(g.id))
	for _, m := range g.ordered() {
		if m.join == nil && m.instanceID == nil {
			t.log("member did not join in time", slog.String("member", m.id))
			t.remove(m.id)
		}
	}
	if len(g.members) > 0 && !electLeader(g) {
		t.log("no member joined in time")
		t.awaitJoins()
		return
	}
	g.generation++
	g.grown = false
	clear(g.unsynced)
	if len(g.members) == 0 {
		g.protocol = nil
		g.computeTopics()
		g.moveTo(empty, t.now)
		t.log("group is empty")
		t.save()
		return
	}
	chosen := g.choose()
	g.protocol = &chosen
	g.computeTopics()
	g.moveTo(completing, t.now)
	t.log("members joined", slog.Int("members", len(g.members)))
	for _, m := range g.ordered() {
		t.d.Reply(m.join, g.joined(m))
		m.join = nil
		m.fresh = false
		g.unsynced[m.id] = struct{}{}
		t.heard(m)
	}
	t.awaitSyncs()
}

// electLeader makes sure that the leader is one that has joined; it is false if
// nobody has.
func electLeader(g *classicGroup) bool {
	if leader, ok := g.members[g.leader]; ok && leader.join != nil {
		return true
	}
	for _, m := range g.ordered() {
		if m.join != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// awaitSyncs gives the members the rebalance timeout to ask for the assignment.
func (t *transition) awaitSyncs() {
	groupID, generation := t.g.id, t.g.generation
	t.d.SetTimer(timer{
		Key: syncKey(groupID), After: t.g.rebalanceTimeout(),
		Op: exclusive(groupID, func(s *shard, now time.Time, _ *waiter) decision {
			g, ok := s.classic(groupID)
			if !ok || g.generation != generation || len(g.unsynced) == 0 || (g.state != completing && g.state != stable) {
				return decision{}
			}
			t := s.begin(g, now)
			for _, m := range g.ordered() {
				if _, late := g.unsynced[m.id]; late {
					t.log("member did not sync in time", slog.String("member", m.id))
					t.remove(m.id)
				}
			}
			t.rebalance("members did not ask for their assignment")
			return t.done()
		}),
	})
}

// joined is what a member is told of the present generation; the leader is told
// of all members.
func (g *classicGroup) joined(m *member) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Generation, resp.Protocol, resp.LeaderID, resp.MemberID = g.generation, g.protocol, g.leader, m.id
	if g.protocolType != "" {
		resp.ProtocolType = &g.protocolType
	}
	if m.id == g.leader {
		resp.Members = g.memberList()
	}
	return resp
}

func (g *classicGroup) memberList() []kmsg.JoinGroupResponseMember {
	list := make([]kmsg.JoinGroupResponseMember, 0, len(g.members))
	for _, m := range g.ordered() {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.id, m.instanceID, m.metadata(g.protocol)
		list = append(list, rm)
	}
	return list
}
