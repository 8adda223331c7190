package metadata

import (
	"fmt"
	"slices"
)

// electionRules are the settings of a partition's topic that elections heed.
type electionRules struct {
	minISR  int  // min.insync.replicas
	unclean bool // unclean.leader.election.enable
}

// repair is what a partition has to become as of an image: its ISR without
// those that do not count any more, a reassignment completed if it can be,
// a leader that is alive, and the ELR that follows from all that. The reason
// is empty if the partition is well. p itself is not changed.
func repair(image *Image, p *Partition, rules electionRules) (next Partition, reason string) {
	next = *p
	s := survivors(image, p, rules.unclean)
	isr := s.isr
	if target, ok := completion(image, p, isr); ok {
		next.Replicas, next.Adding, next.Removing = target, nil, nil
		isr = within(isr, target)
		reason = "the reassignment is complete"
	}
	next.setISR(isr)
	if moved := next.lead(image, isr, s.elects); moved != "" {
		reason = moved
	}
	if s.reason != "" {
		reason = s.reason
	}
	next.followELR(image, p, rules.minISR)
	if s.unclean {
		next.ELR, next.ELREpochs = nil, nil // what they are eligible for has been given up
	}
	switch {
	case next.same(p):
		return *p, ""
	case reason == "":
		reason = "the in-sync replicas changed"
	}
	next.PartitionEpoch++
	return next, reason
}

// uncleanElection tells whether the next state elects a replica that was neither in sync nor eligible.
func uncleanElection(p, next *Partition) bool {
	return next.LeaderEpoch != p.LeaderEpoch && next.Leader != NoBroker &&
		!slices.Contains(p.ISR, next.Leader) && !slices.Contains(p.ELR, next.Leader)
}

// wellLed tells, without allocating, that there is nothing to repair.
func wellLed(image *Image, p *Partition) bool {
	if len(p.Adding)+len(p.Removing)+len(p.ELR) > 0 || len(p.ISR) == 0 || len(p.ISREpochs) != len(p.ISR) {
		return false
	}
	leads := false
	for i, id := range p.ISR {
		if !image.ready(Member{Broker: id, Epoch: p.ISREpochs[i]}) || !slices.Contains(p.Replicas, id) {
			return false
		}
		leads = leads || id == p.Leader && p.ISREpochs[i] == p.LeaderBrokerEpoch
	}
	return leads
}

// survival is what is left of an ISR.
type survival struct {
	isr     []Member
	elects  bool // isr is one member that is to be elected, whoever led before
	unclean bool // which may not have everything that was committed
	reason  string
}

// survivors are the members of the ISR that count: those that are live and do
// not stop; failing those, the live ones. If no member is live, one replica is
// elected and is the ISR from then on; the first that there is of
//
//   - a member that has shut down cleanly and is back;
//   - an ELR member that is live, or back after a clean shutdown;
//   - a member that is back after a crash. It may have lost what it had not
//     flushed, but nobody else has more;
//   - if unclean elections are allowed, any live replica.
//
// If there is none, all members stay, for the first that comes back.
func survivors(image *Image, p *Partition, unclean bool) survival {
	all := within(p.Members(), p.Replicas)
	for _, counts := range []func(Member) bool{image.ready, image.live} {
		if isr := filter(all, counts); len(isr) > 0 {
			return survival{isr: isr}
		}
	}
	registered := func(m Member) bool { _, ok := image.Brokers[m.Broker]; return ok }
	if m, ok := candidate(image, p, filter(all, image.survived)); ok {
		return survival{isr: []Member{m}, elects: true, reason: fmt.Sprintf("in-sync replica %d is back", m.Broker)}
	}
	if m, ok := candidate(image, p, filter(p.EligibleMembers(), image.survived)); ok {
		return survival{isr: []Member{m}, elects: true, reason: fmt.Sprintf("no in-sync replica is alive, eligible replica %d is", m.Broker)}
	}
	crashed := filter(all, registered)
	if m, ok := memberOf(crashed, p.Leader); ok { // no other member has more than it had
		crashed = []Member{m}
	}
	if m, ok := candidate(image, p, crashed); ok {
		return survival{isr: []Member{m}, elects: true, reason: fmt.Sprintf("in-sync replica %d is back after a crash", m.Broker)}
	}
	if unclean {
		if m, ok := candidate(image, p, filter(members(p.Replicas, nil), registered)); ok {
			return survival{isr: []Member{m}, elects: true, unclean: true, reason: fmt.Sprintf("no in-sync replica is alive: unclean election of %d", m.Broker)}
		}
	}
	if len(all) == 0 { // never written like that
		all = p.Members()
	}
	return survival{isr: all}
}

// candidate is the first of ms in the order of the replicas, at its present
// epoch; a broker that stops only if there is no other.
func candidate(image *Image, p *Partition, ms []Member) (Member, bool) {
	var stopping Member
	found := false
	for _, id := range p.Replicas {
		if _, ok := memberOf(ms, id); !ok {
			continue
		}
		m, _ := image.member(id)
		if !image.Brokers[id].Stopping {
			return m, true
		}
		if !found {
			stopping, found = m, true
		}
	}
	return stopping, found
}

// completion tells whether a reassignment can be completed: all replicas that it
// adds are in sync. Then the target becomes the replicas.
func completion(image *Image, p *Partition, isr []Member) (target []int32, ok bool) {
	if len(p.Adding)+len(p.Removing) == 0 {
		return nil, false
	}
	live := filter(isr, image.live)
	for _, id := range p.Adding {
		if _, ok = memberOf(live, id); !ok {
			return nil, false
		}
	}
	target = without(p.Replicas, p.Removing)
	return target, len(within(live, target)) > 0
}

// lead elects a member of the ISR unless the present leader is one and lives.
// It returns why, or nothing. always says that isr's only member was chosen.
func (p *Partition) lead(image *Image, isr []Member, always bool) string {
	if m, ok := memberOf(isr, p.Leader); ok && m.Epoch == p.LeaderBrokerEpoch && !always {
		return ""
	}
	m, ok := candidate(image, p, filter(isr, image.live))
	if !ok {
		return "" // nobody lives
	}
	why := fmt.Sprintf("leader %d has to be replaced", p.Leader)
	p.elect(m)
	return why
}

// elect makes a member the leader of the next leader epoch.
func (p *Partition) elect(m Member) {
	p.Leader, p.LeaderBrokerEpoch = m.Broker, m.Epoch
	p.LeaderEpoch++
}

// followELR makes the ELR of p, whose ISR is new, from what the partition was
// before (KIP-966). While the ISR is smaller than the minimum, whoever leaves it
// stays eligible, since nothing is committed until it has grown again, except
// that one that comes back after a crash may have lost something.
func (p *Partition) followELR(image *Image, before *Partition, minISR int) {
	if len(p.ISR) >= min(max(minISR, 1), len(p.Replicas)) {
		p.ELR, p.ELREpochs = nil, nil
		return
	}
	var elr []Member
	for _, m := range slices.Concat(before.EligibleMembers(), before.Members()) {
		if m.Epoch == 0 || slices.Contains(p.ISR, m.Broker) || !slices.Contains(p.Replicas, m.Broker) {
			continue
		}
		if present, registered := image.member(m.Broker); registered {
			if !image.survived(m) {
				continue
			}
			m = present
		}
		if _, twice := memberOf(elr, m.Broker); !twice {
			elr = append(elr, m)
		}
	}
	p.setELR(elr)
}

// same tells that two states differ in nothing that is written down.
func (p *Partition) same(q *Partition) bool {
	return p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch && p.LeaderBrokerEpoch == q.LeaderBrokerEpoch &&
		slices.Equal(p.Replicas, q.Replicas) && slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing) &&
		slices.Equal(p.Members(), q.Members()) && slices.Equal(p.EligibleMembers(), q.EligibleMembers())
}

func filter(ms []Member, keep func(Member) bool) []Member {
	return slices.DeleteFunc(slices.Clone(ms), func(m Member) bool { return !keep(m) })
}

// within are the members whose broker is one of ids.
func within(ms []Member, ids []int32) []Member {
	return filter(ms, func(m Member) bool { return slices.Contains(ids, m.Broker) })
}

// without are the ids that are not among others, in their order.
func without(ids, others []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return slices.Contains(others, id) })
}
