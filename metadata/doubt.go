package metadata

import "slices"

// Doubt is what a controller knows of a registration that is older than its own election. When
// etcd elects a leader, as after a restart of the whole cluster, it renews every lease. For
// one time to live a dead broker then looks alive.
type Doubt int8

// The stages of a doubt.
const (
	// NoDoubt: the broker has answered since, or its lease would have ended by now.
	NoDoubt Doubt = iota
	// Unknown: it has to be probed, if it matters, or is being probed.
	Unknown
	// Silent: it does not answer the probe, and its lease has not ended.
	Silent
)

// doubtful reports whether the ISR may become the live members only after a probe. That is so
// if each live member may be dead and another member has registered again: that one would be
// dropped in favor of dead ones. If no member has registered again, a failover does not wait.
func (r *ElectionRules) doubtful(image *Image, live, all []Member) bool {
	if r.Doubt == nil || !slices.ContainsFunc(all, image.registeredSince) {
		return false
	}
	return !slices.ContainsFunc(live, func(m Member) bool { return r.Doubt(m) == NoDoubt })
}

// registeredSince reports whether a member's broker has registered again, under a later epoch.
func (m *Image) registeredSince(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch > member.Epoch
}

// despiteDoubts decides while all live members may be dead. A member that has registered again
// and has lost nothing is elected: it has all records and is certain to live. One that may
// have lost records is neither preferred to a member that may live nor dropped in favor of one
// that may be dead: nothing changes until the probes have shown which.
func (m *Image) despiteDoubts(p *Partition, live, isr, elr []Member, rules ElectionRules) survival {
	if unknown := filter(live, func(one Member) bool { return rules.Doubt(one) == Unknown }); len(unknown) > 0 {
		return survival{undecided: true, doubts: unknown}
	}
	back := func(one Member) bool { return m.registeredSince(one) && m.lostNothing(one) }
	if s, ok := m.survivor(p, filter(isr, back), filter(elr, back)); ok {
		return s
	}
	return survival{undecided: true}
}
