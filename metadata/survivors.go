package metadata

import (
	"cmp"
	"fmt"
	"slices"
)

// survival is what is left of an ISR.
type survival struct {
	isr       []Member
	elects    bool     // isr is one member that is to be elected, even if another one led
	unclean   bool     // it may not have everything that was committed
	asks      bool     // who is to be elected uncleanly depends on the ends of the logs
	undecided bool     // it is not known yet who lives: nothing changes
	doubts    []Member // which have to be probed
	reason    string
}

// survivors are the members of the ISR that count: those that are live and do
// not stop; failing those, the live ones. If no member is live, one replica is
// elected and is the ISR from then on (KIP-966); the first that there is of
//
//   - a member of the ISR, or of the ELR, that is registered and has lost nothing;
//   - the last leader, if every member of both is registered, and has crashed with its
//     machine or lost its directory. It had more than any other;
//   - if unclean elections are allowed, the replica whose log goes furthest.
//
// If there is none, all members stay. The partition waits for those of them that
// are away, which may have everything: see Awaited.
func survivors(image *Image, p *Partition, rules ElectionRules) survival {
	isr := within(p.Members(), p.Replicas)
	elr := within(p.EligibleMembers(), p.Replicas)
	for _, counts := range []func(Member) bool{image.active, image.Live} {
		if live := filter(isr, counts); len(live) > 0 {
			if rules.doubtful(image, live, slices.Concat(isr, elr)) {
				return image.despiteDoubts(p, live, isr, elr, rules)
			}
			return survival{isr: live}
		}
	}
	if s, ok := image.survivor(p, isr, elr); ok {
		return s
	}
	if m, ok := image.lastKnownLeader(p, isr, elr); ok {
		why := fmt.Sprintf("in-sync replica %d is back after a crash, and nobody can have more", m.Broker)
		return survival{isr: []Member{m}, elects: true, reason: why}
	}
	stay := isr
	if len(stay) == 0 { // never written like that
		stay = p.Members()
	}
	if !rules.Unclean {
		return survival{isr: stay}
	}
	if m, ok := image.furthest(p, rules.LogEnds); ok {
		why := fmt.Sprintf("no in-sync replica is alive: unclean election of %d", m.Broker)
		return survival{isr: []Member{m}, elects: true, unclean: true, reason: why}
	}
	return survival{isr: stay, asks: len(image.askable(p)) > 0}
}

// survivor is a member that is registered and has lost nothing, of the ISR if possible.
func (m *Image) survivor(p *Partition, isr, elr []Member) (survival, bool) {
	if one, ok := candidate(m, p, filter(isr, m.lostNothing)); ok {
		why := fmt.Sprintf("in-sync replica %d is back", one.Broker)
		return survival{isr: []Member{one}, elects: true, reason: why}, true
	}
	if one, ok := candidate(m, p, filter(elr, m.lostNothing)); ok {
		why := fmt.Sprintf("no in-sync replica is alive, eligible replica %d is", one.Broker)
		return survival{isr: []Member{one}, elects: true, reason: why}, true
	}
	return survival{}, false
}

// lastKnownLeader is the last leader, at its present epoch, if nobody else can have
// more than it has.
func (m *Image) lastKnownLeader(p *Partition, isr, elr []Member) (Member, bool) {
	if slices.ContainsFunc(isr, m.fenced) || slices.ContainsFunc(elr, m.fenced) {
		return Member{}, false
	}
	last, ok := memberOf(isr, p.Leader)
	if !ok || !m.crashed(last) {
		return Member{}, false
	}
	return m.present(last)
}

// Awaited are the brokers that a partition without a leader waits for: members of
// its ISR and ELR that are not registered and may have everything. It is empty if
// there is a leader, or if nobody can become it but by an unclean election.
func (m *Image) Awaited(p *Partition) []int32 {
	if _, led := m.Leader(p); led {
		return nil
	}
	var ids []int32
	for _, member := range slices.Concat(p.Members(), p.EligibleMembers()) {
		if m.fenced(member) {
			ids = append(ids, member.Broker)
		}
	}
	return ids
}

// Electable reports whether the controller has somebody to elect for a partition,
// not counting unclean elections.
func (m *Image) Electable(p *Partition) bool {
	s := survivors(m, p, ElectionRules{MinISR: 1})
	return s.elects || slices.ContainsFunc(s.isr, m.Live)
}

// LogEnd is where a replica's log ends: the leader epoch of its last record, -1 if
// there is none, and the offset behind that.
type LogEnd struct {
	LeaderEpoch int32
	Offset      int64
}

// compare orders logs by how much of the leaders' history they have.
func (e LogEnd) compare(o LogEnd) int {
	return cmp.Or(cmp.Compare(e.LeaderEpoch, o.LeaderEpoch), cmp.Compare(e.Offset, o.Offset))
}

// LogEnds are the ends of a partition's logs at the replicas that have answered,
// each as of its broker's registration; nil: nobody was asked.
type LogEnds map[Member]LogEnd

// askable are the replicas that are there to be asked for the ends of their logs.
func (m *Image) askable(p *Partition) []Member {
	var all []Member
	for _, id := range p.Replicas {
		if b, ok := m.Brokers[id]; ok {
			all = append(all, Member{Broker: id, Epoch: b.Epoch})
		}
	}
	return all
}

// furthest is the replica whose log ends in the highest leader epoch, and there at
// the highest offset; of equal ones a broker that stays, then the preferred one.
func (m *Image) furthest(p *Partition, ends LogEnds) (Member, bool) {
	answered := filter(m.askable(p), func(one Member) bool { _, ok := ends[one]; return ok })
	if len(answered) == 0 {
		return Member{}, false
	}
	best := slices.MaxFunc(answered, func(a, b Member) int { return ends[a].compare(ends[b]) })
	best, ok := candidate(m, p, filter(answered, func(one Member) bool { return ends[one] == ends[best] }))
	return best, ok
}
