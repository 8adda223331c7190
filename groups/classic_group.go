package groups

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// classicState is the state of a classic group; its text is Kafka's.
type classicState string

// The states:
//
//	          first member           all rejoined, or time over
//	empty ──────────────► preparing ─────────────────────────► completing
//	  ▲                    │     ▲                                  │ leader's assignment
//	  └────────────────────┘     └──────────────────────────────┬── ▼
//	     nobody is left                join, leave, expiry      └─ stable
//
// A deleted group is gone; what Kafka calls Dead is the answer about one that is not there.
const (
	empty      classicState = "Empty"
	preparing  classicState = "PreparingRebalance"
	completing classicState = "CompletingRebalance"
	stable     classicState = "Stable"
	dead       classicState = "Dead"
)

// consumerProtocol is the protocol type of consumers, whose subscriptions can be read.
const consumerProtocol = "consumer"

// protocol is an assignment strategy that a member offers, with what it tells the leader.
type protocol struct {
	name     string
	metadata []byte
}

// member of a classic group.
type member struct {
	id               string
	instanceID       *string // nil: not static
	clientID         string
	clientHost       string
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocols        []protocol // in order of preference
	assignment       []byte

	seq   int64   // members are ordered as they joined
	fresh bool    // has not been told its id by a completed join
	join  *waiter // waits for the rebalance
	sync  *waiter // waits for the assignment
}

// classicGroup is one version of a group of the classic protocol. What is in
// shard.groups is never changed.
type classicGroup struct {
	id           string
	state        classicState
	previous     classicState
	since        int64 // ms at which it came to the state; -1: unknown
	generation   int32
	protocolType string // "" before the first member
	protocol     *string
	leader       string // "" if there are no members
	members      map[string]*member
	static       map[string]string   // member id by instance id
	pending      map[string]struct{} // ids given to dynamic members who have yet to join with them
	unsynced     map[string]struct{} // who have yet to ask for the assignment
	grown        bool                // a member came during the initial delay
	nextSeq      int64
	topics       map[string]struct{} // subscribed to; nil: not known
}

func newClassicGroup(id string, since int64) *classicGroup {
	return &classicGroup{
		id: id, state: empty, previous: empty, since: since,
		members: map[string]*member{}, static: map[string]string{},
		pending: map[string]struct{}{}, unsynced: map[string]struct{}{},
	}
}

// clone makes a copy that may be changed, its members included.
func (g *classicGroup) clone() *classicGroup {
	c := *g
	c.static, c.pending, c.unsynced = maps.Clone(g.static), maps.Clone(g.pending), maps.Clone(g.unsynced)
	c.members = make(map[string]*member, len(g.members)+1)
	block := make([]member, 0, len(g.members))
	for id, m := range g.members {
		block = append(block, *m)
		c.members[id] = &block[len(block)-1]
	}
	return &c
}

// ordered lists the members as they joined.
func (g *classicGroup) ordered() []*member {
	return slices.SortedFunc(maps.Values(g.members), func(a, b *member) int { return cmp.Compare(a.seq, b.seq) })
}

// add puts in a member that is not there yet; its protocols fit.
func (g *classicGroup) add(m *member) {
	m.seq = g.nextSeq
	g.nextSeq++
	g.members[m.id] = m
	if m.instanceID != nil {
		g.static[*m.instanceID] = m.id
	}
	if g.leader == "" {
		g.leader = m.id
	}
	delete(g.pending, m.id)
}

// drop takes a member, or a pending one, out. Its waiters are the caller's to answer.
func (g *classicGroup) drop(id string) {
	if m, ok := g.members[id]; ok {
		delete(g.members, id)
		if m.instanceID != nil {
			delete(g.static, *m.instanceID)
		}
	}
	delete(g.pending, id)
	delete(g.unsynced, id)
	if g.leader == id {
		g.leader = ""
		if rest := g.ordered(); len(rest) > 0 {
			g.leader = rest[0].id
		}
	}
}

func (g *classicGroup) moveTo(state classicState, now time.Time) {
	g.previous, g.state, g.since = g.state, state, now.UnixMilli()
}

// check is the error code for a request that claims to be of that member.
func (g *classicGroup) check(memberID string, instanceID *string) int16 {
	if instanceID != nil {
		switch id, ok := g.static[*instanceID]; {
		case !ok:
			return kerr.UnknownMemberID.Code
		case id != memberID:
			return kerr.FencedInstanceID.Code
		}
	}
	if _, ok := g.members[memberID]; !ok {
		return kerr.UnknownMemberID.Code
	}
	return 0
}

// supports says whether a member that offers these protocols can be in the group.
func (g *classicGroup) supports(protocolType string, offered []protocol) bool {
	if g.state == empty {
		return protocolType != "" && len(offered) > 0
	}
	if g.protocolType != protocolType {
		return false
	}
	counts := g.protocolCounts()
	return slices.ContainsFunc(offered, func(p protocol) bool { return counts[p.name] == len(g.members) })
}

// protocolCounts is how many members offer each protocol.
func (g *classicGroup) protocolCounts() map[string]int {
	counts := map[string]int{}
	for _, m := range g.members {
		for i, p := range m.protocols {
			if !slices.ContainsFunc(m.protocols[:i], func(q protocol) bool { return q.name == p.name }) {
				counts[p.name]++
			}
		}
	}
	return counts
}

// choose is the protocol for the next generation: of those that all members
// offer, the one that most of them like best; the leader decides a tie.
func (g *classicGroup) choose() string {
	counts := g.protocolCounts()
	votes := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if counts[p.name] == len(g.members) {
				votes[p.name]++
				break
			}
		}
	}
	best := ""
	if leader, ok := g.members[g.leader]; ok {
		for _, p := range leader.protocols {
			if votes[p.name] > votes[best] {
				best = p.name
			}
		}
	}
	return best
}

func (g *classicGroup) awaitingJoin() int {
	n := 0
	for _, m := range g.members {
		if m.join != nil {
			n++
		}
	}
	return n
}

// allJoined says that nobody is left to wait for.
func (g *classicGroup) allJoined() bool {
	return len(g.pending) == 0 && g.awaitingJoin() == len(g.members)
}

// rebalanceTimeout is that of the most patient member.
func (g *classicGroup) rebalanceTimeout() time.Duration {
	var longest time.Duration
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// computeTopics reads the members' subscriptions.
func (g *classicGroup) computeTopics() {
	g.topics = nil
	if g.protocolType != consumerProtocol {
		return
	}
	topics := map[string]struct{}{}
	for _, m := range g.members {
		var subscription kmsg.ConsumerMemberMetadata
		if g.protocol == nil || subscription.ReadFrom(m.metadata(g.protocol)) != nil {
			return
		}
		for _, t := range subscription.Topics {
			topics[t] = struct{}{}
		}
	}
	g.topics = topics
}

// metadata is what the member says for that protocol.
func (m *member) metadata(name *string) []byte {
	if name != nil {
		for _, p := range m.protocols {
			if p.name == *name {
				return p.metadata
			}
		}
	}
	return nil
}

// offers says that the member offers exactly these protocols already.
func (m *member) offers(protocols []protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b protocol) bool {
		return a.name == b.name && bytes.Equal(a.metadata, b.metadata)
	})
}

// excused says that the member need not send heartbeats: it waits here for an answer.
func (m *member) excused() bool { return !m.fresh && (m.join != nil || m.sync != nil) }

func millis(d time.Duration) int32      { return int32(d.Milliseconds()) }
func fromMillis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

func (g *classicGroup) groupType() groupType { return typeClassic }
func (g *classicGroup) stateName() string    { return string(g.state) }
func (g *classicGroup) protocolKind() string { return g.protocolType }
func (g *classicGroup) empty() bool          { return g.state == empty && len(g.pending) == 0 }

func (g *classicGroup) size() int { return len(g.members) }

func (g *classicGroup) checkCommit(memberID string, instanceID *string, generation int32) int16 {
	switch {
	case generation < 0 && g.state == empty:
		return 0 // a consumer without membership, or an administrator
	case generation < 0 && memberID == "" && instanceID == nil:
		return kerr.UnknownMemberID.Code
	}
	if code := g.check(memberID, instanceID); code != 0 {
		return code
	}
	switch {
	case generation != g.generation:
		return kerr.IllegalGeneration.Code
	case g.state == completing:
		return kerr.RebalanceInProgress.Code
	}
	return 0
}

func (g *classicGroup) session(memberID string) (time.Duration, bool) {
	m, ok := g.members[memberID]
	if !ok || (g.state != stable && g.state != preparing) {
		return 0, false
	}
	return m.sessionTimeout, true
}

// subscribed is also true when the subscriptions cannot be read.
func (g *classicGroup) subscribed(topic string) bool {
	if g.topics == nil {
		return g.protocolType == consumerProtocol
	}
	_, ok := g.topics[topic]
	return ok
}

func (g *classicGroup) expiryBase(committed int64) (int64, bool) {
	switch {
	case g.protocolType == "":
		return committed, true // no members ever: each offset for itself
	case g.state == empty && g.since >= 0:
		return g.since, true
	case g.state == empty:
		return committed, true // written by an old version that did not say since when
	case g.state == stable && g.topics != nil:
		return committed, true // topics that nobody reads any more
	}
	return 0, false
}
