package groups

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// transition builds the successor of a classic group, and what goes with it:
// records, answers, timers. None of it is visible before the records are
// committed, and all of it is then.
type transition struct {
	s       *shard
	now     time.Time
	g       *classicGroup // the successor
	created bool
	d       decision
}

// begin starts from the group as it is.
func (s *shard) begin(g *classicGroup, now time.Time) *transition {
	return &transition{s: s, now: now, g: g.clone()}
}

// create starts with a group that is not there yet.
func (s *shard) create(groupID string, now time.Time) *transition {
	return &transition{s: s, now: now, g: newClassicGroup(groupID, now.UnixMilli()), created: true}
}

// done is the decision to put the successor in its place. A new group is written
// down even if it has no members yet, so that it is known after a failover.
func (t *transition) done() decision {
	if t.created && len(t.d.Records) == 0 {
		t.d.Records = append(t.d.Records, groupRecord(newClassicGroup(t.g.id, t.g.since)))
	}
	then, g := t.d.Then, t.g
	t.d.Then = func(s *shard) {
		s.put(g.id, g)
		if then != nil {
			then(s)
		}
	}
	return t.d
}

// save writes the group as it is now.
func (t *transition) save() { t.d.Records = append(t.d.Records, groupRecord(t.g)) }

func (t *transition) log(message string, attrs ...slog.Attr) {
	// The line says what was decided; that its records are refused is logged by the runtime.
	t.s.logger.Debug(message, //nolint:sloglint // callers pass constants
		slog.String("group", t.g.id), slog.String("state", string(t.g.state)), slog.Int("generation", int(t.g.generation)),
		slog.Attr{Value: slog.GroupValue(attrs...)})
}

// Timers of a group. Whatever they do is decided from the state of that moment,
// so that one that comes late does no harm.

func heartbeatKey(groupID, memberID string) coordinator.TimerKey {
	return coordinator.TimerKey{Kind: "session", Scope: groupID, ID: memberID}
}

func joinKey(groupID string) coordinator.TimerKey {
	return coordinator.TimerKey{Kind: "join", Scope: groupID}
}

func syncKey(groupID string) coordinator.TimerKey {
	return coordinator.TimerKey{Kind: "sync", Scope: groupID}
}

// sessionTimer removes a member that has not been heard of for so long.
func sessionTimer(groupID, memberID string, after time.Duration) timer {
	return timer{
		Key: heartbeatKey(groupID, memberID), After: after,
		Op: exclusive(groupID, func(s *shard, now time.Time, _ *waiter) decision {
			return s.expireMember(groupID, memberID, now)
		}),
	}
}

// overCapacityTimer makes the members of a group that has more than are allowed
// now join again, at which some are refused.
func overCapacityTimer(groupID string) timer {
	return timer{
		Key: coordinator.TimerKey{Kind: "capacity", Scope: groupID},
		Op: exclusive(groupID, func(s *shard, now time.Time, _ *waiter) decision {
			g, ok := s.classic(groupID)
			if !ok || g.state != stable {
				return decision{}
			}
			t := s.begin(g, now)
			t.rebalance("the group is over its capacity")
			return t.done()
		}),
	}
}

func (s *shard) expireMember(groupID, memberID string, now time.Time) decision {
	g, ok := s.classic(groupID)
	if !ok {
		return decision{}
	}
	m, isMember := g.members[memberID]
	_, isPending := g.pending[memberID]
	if !isPending && (!isMember || m.excused()) {
		return decision{}
	}
	t := s.begin(g, now)
	t.log("member expired", slog.String("member", memberID))
	t.remove(memberID)
	if isMember {
		t.rebalanceAfterLoss("a member's session expired")
	} else {
		t.completeIfAllJoined()
	}
	return t.done()
}

// heard restarts the session of a member.
func (t *transition) heard(m *member) {
	t.d.SetTimer(sessionTimer(t.g.id, m.id, m.sessionTimeout))
}

// remove takes a member out, or a pending one, and answers what it waits for.
func (t *transition) remove(memberID string) {
	if m, ok := t.g.members[memberID]; ok {
		t.failJoin(m, "", kerr.UnknownMemberID.Code)
		t.failSync(m, kerr.UnknownMemberID.Code)
	}
	t.g.drop(memberID)
	t.d.CancelTimer(heartbeatKey(t.g.id, memberID))
}

func (t *transition) failJoin(m *member, memberID string, code int16) {
	if m.join != nil {
		t.d.Reply(m.join, joinFailure(memberID, code))
		m.join = nil
	}
}

func (t *transition) failSync(m *member, code int16) {
	if m.sync != nil {
		t.d.Reply(m.sync, syncFailure(code))
		m.sync = nil
	}
}

func joinFailure(memberID string, code int16) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.MemberID, resp.ErrorCode = memberID, code
	return resp
}

func syncFailure(code int16) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = code
	return resp
}
