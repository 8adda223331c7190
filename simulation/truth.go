package simulation

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// members returns the replicas that the truth considers complete.
func members(p *metadata.Partition) []metadata.Member {
	return slices.Concat(p.Members(), p.EligibleMembers())
}

// intact reports whether a member's log has lost nothing since it became a member.
func (c *checker) intact(m metadata.Member) bool {
	h := c.w.hosts[m.Broker-1]
	if m.Directory.IsZero() {
		return m.Epoch > h.lost && m.Epoch > h.lostSome
	}
	return m.Epoch > h.lost && m.Epoch > h.gone[m.Directory]
}

// complete reports whether a broker's log has all committed records.
func (p *partition) complete(broker int32) bool {
	r := p.logs[broker]
	if r == nil {
		return len(p.committed) == 0
	}
	r.match(p.committed)
	return r.matched == int64(len(p.committed))
}

// electable checks that every member whose disk has lost nothing has all committed records.
func (c *checker) electable(p *partition) {
	if p.state == nil {
		return
	}
	for _, m := range members(p.state) {
		if c.intact(m) && !p.complete(m.Broker) {
			c.w.fail("broker %d may be elected for %s and lacks offset %d of %d that are committed; in sync %v, eligible %v",
				m.Broker, p.name, p.lacks(m.Broker), len(p.committed), names(p.state.Members()), names(p.state.EligibleMembers()))
			return
		}
	}
}

func (p *partition) lacks(broker int32) int64 {
	if r := p.logs[broker]; r != nil {
		return r.matched
	}
	return 0
}

// truth checks a change of the truth.
func (c *checker) truth(after *metadata.Image) {
	for _, name := range after.TopicNames() {
		t, _ := after.TopicByName(name)
		for i := range t.Partitions {
			state := t.Partitions[i]
			p := c.of(partitionID{t.ID, int32(i)}, metadata.TopicPartition{Topic: name, Partition: int32(i)})
			if minISR := MinISR(after, name); p.minISR == 0 || minISR < p.minISR {
				p.minISR = minISR
			}
			if p.state != nil && p.state.Revision == state.Revision {
				continue
			}
			old := p.state
			p.state = state
			c.w.trace("truth of %s: leader %d epoch %d, in sync %v, eligible %v, replicas %v, partition epoch %d",
				p.name, state.Leader, state.LeaderEpoch, names(state.Members()), names(state.EligibleMembers()), state.Replicas, state.PartitionEpoch)
			if old != nil && state.LeaderEpoch != old.LeaderEpoch {
				c.elected(p, old)
			}
			if old != nil {
				c.copies(p, old)
			}
			c.electable(p)
		}
	}
	for _, id := range c.order {
		if _, ok := after.TopicByID(id.topic); !ok {
			c.partitions[id].state = nil
		}
	}
}

// names returns members as text without their directories, whose ids are random.
func names(ms []metadata.Member) []string {
	all := make([]string, len(ms))
	for i, m := range ms {
		all[i] = fmt.Sprintf("%d@%d", m.Broker, m.Epoch)
	}
	return all
}

// over reports whether the leader's registration belongs to an earlier process whose machine has
// crashed, or whose log was lost. A leader whose disk fails still counts until its process ends.
func (c *checker) over(p *metadata.Partition) bool {
	h := c.w.hosts[p.Leader-1]
	until := h.lostSome
	for _, m := range p.Members() {
		if m.Broker == p.Leader && !m.Directory.IsZero() {
			until = h.gone[m.Directory]
		}
	}
	if until == noEpoch {
		until = 0
	}
	return p.LeaderBrokerEpoch <= max(h.lost, until)
}

// elected checks an election. If an intact member has all committed records, the leader has them
// too. If every disk that had them has lost some, the leader's log is what counts from now on.
func (c *checker) elected(p *partition, old *metadata.Partition) {
	c.w.counts["elections"]++
	leader := p.state.Leader
	defer func() { p.owes(p.logs[leader]) }()
	if c.over(p.state) {
		return // it does not lead anything any more
	}
	complete := p.complete(leader)
	if slices.ContainsFunc(members(old), c.intact) {
		if !complete {
			c.w.fail("broker %d is elected for %s and lacks offset %d of %d, which others have; before, in sync were %v, eligible %v",
				leader, p.name, p.lacks(leader), len(p.committed), names(old.Members()), names(old.EligibleMembers()))
		}
		return
	}
	p.deleted = 0 // the log start was lost together with the log end
	if complete {
		return
	}
	left := p.lacks(leader)
	p.forgot = p.state.LeaderEpoch
	c.w.counts["lost with their disks"] += len(p.committed) - int(left)
	p.loses(left)
	p.acked = slices.DeleteFunc(p.acked, func(a acknowledged) bool { return a.offset >= left })
	for _, h := range c.w.hosts {
		if r := p.logs[h.id]; r != nil {
			r.forgets, r.matched = true, min(r.matched, left)
		}
	}
}

// copies checks that, when a complete replica is given up, as many complete replicas remain as
// min.insync.replicas promises.
func (c *checker) copies(p *partition, old *metadata.Partition) {
	gone := slices.ContainsFunc(old.Members(), func(m metadata.Member) bool {
		return !slices.Contains(p.state.Replicas, m.Broker) && c.intact(m) && p.complete(m.Broker)
	})
	if !gone {
		return
	}
	// electable checks these; the cluster may not yet know of a machine that has just crashed.
	left := len(p.state.Members())
	if promised := min(p.minISR, len(p.state.Replicas)-len(p.state.Removing)); left < promised {
		c.w.fail("%s has %d copies left, of %d: replicas %v, in sync %v; before, replicas %v, in sync %v",
			p.name, left, promised, p.state.Replicas, names(p.state.Members()), old.Replicas, names(old.Members()))
	}
}
