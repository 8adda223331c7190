package metadata

import (
	"cmp"
	"fmt"
	"slices"
)

// survival is the outcome for an ISR.
type survival struct {
	isr       []Member
	elects    bool     // isr is one member, to be elected even if it is the leader
	unclean   bool     // that member may lack committed records
	lossy     bool     // it may lack records that it, or another replica, once had
	asks      bool     // an unclean election needs the log ends first
	undecided bool     // which members live is unknown: the partition stays as it is
	doubts    []Member // members to be probed
	reason    string
}

// survivors returns the members that stay in the ISR: the active ones or, if there is none, the
// live ones. If no member is live, one replica is elected and becomes the ISR (KIP-966). It is the
// first of these that exists:
//
//   - a member of the ISR, then one of the ELR, that is unfenced and has lost nothing;
//   - the last known leader, if each member of the ISR and the ELR is unfenced and has crashed
//     with its machine or lost its directory: the leader had the most records;
//   - if unclean elections are allowed, the replica with the longest log.
//
// If none exists, all members stay, and the partition waits for the fenced ones, which may have all
// records: see Awaited.
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
		return survival{isr: []Member{m}, elects: true, lossy: true, reason: why}
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
		return survival{isr: []Member{m}, elects: true, unclean: true, lossy: true, reason: why}
	}
	return survival{isr: stay, asks: len(image.askable(p)) > 0}
}

// survivor elects a member of the ISR, or else of the ELR, that is unfenced and has lost nothing.
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

// lastKnownLeader returns the last leader with its present broker epoch. It returns false if the
// leader has lost its log, or if a fenced member may have more records.
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

// Awaited returns the brokers that a partition without a leader waits for: the fenced members of
// its ISR and ELR, which may have all records. It is empty if the partition has a leader, or if
// only an unclean election can elect one.
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

// Electable reports whether the controller can elect a leader without an unclean election.
func (m *Image) Electable(p *Partition) bool {
	s := survivors(m, p, ElectionRules{MinISR: 1})
	return s.elects || slices.ContainsFunc(s.isr, m.Live)
}

// LogEnd is the end of a replica's log. LeaderEpoch is that of its last record, -1 if it has none.
// Offset is the log end offset.
type LogEnd struct {
	LeaderEpoch int32
	Offset      int64
}

// compare orders logs by how much of the leaders' history they have.
func (e LogEnd) compare(o LogEnd) int {
	return cmp.Or(cmp.Compare(e.LeaderEpoch, o.LeaderEpoch), cmp.Compare(e.Offset, o.Offset))
}

// LogEnds are the log ends of the replicas that have answered, by replica (Member without a
// directory). nil: no replica was asked.
type LogEnds map[Member]LogEnd

// askable returns the replicas on live brokers, which can be asked for the ends of their logs.
func (m *Image) askable(p *Partition) []Member {
	var all []Member
	for _, id := range p.Replicas {
		if b, ok := m.Brokers[id]; ok {
			all = append(all, Member{Broker: id, Epoch: b.Epoch})
		}
	}
	return all
}

// furthest returns the replica with the longest log: the one that ends in the highest leader epoch
// and, within that epoch, at the highest offset. Among equal logs it prefers an active broker, then
// the first in the order of the replicas.
func (m *Image) furthest(p *Partition, ends LogEnds) (Member, bool) {
	answered := filter(m.askable(p), func(one Member) bool { _, ok := ends[one]; return ok })
	if len(answered) == 0 {
		return Member{}, false
	}
	best := slices.MaxFunc(answered, func(a, b Member) int { return ends[a].compare(ends[b]) })
	best, ok := candidate(m, p, filter(answered, func(one Member) bool { return ends[one] == ends[best] }))
	return best, ok
}
