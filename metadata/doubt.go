package metadata

import "slices"

// Doubt is what a controller thinks of a registration that is older than its own
// election. When etcd elects a leader, as after a restart of the whole cluster, it
// renews every lease: for as long as a lease lasts a dead broker looks alive.
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

// doubtful reports whether the choice of the live members alone would let those
// outvote members that have registered since, and each of them may be dead.
// Without a member that has registered since there is nobody to be outvoted: a
// failover does not wait.
func (r *ElectionRules) doubtful(image *Image, live, all []Member) bool {
	if r.Doubt == nil || !slices.ContainsFunc(all, image.registeredSince) {
		return false
	}
	return !slices.ContainsFunc(live, func(m Member) bool { return r.Doubt(m) == NoDoubt })
}

// registeredSince reports that a member's broker is registered under a later epoch.
func (m *Image) registeredSince(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch > member.Epoch
}

// despiteDoubts decides when all live members may be dead. A member that is back
// and has lost nothing is as good as any and certain to be there. One that may have
// lost something must not be preferred to a live one, nor be dropped in favor of a
// dead one: nothing changes until it is known.
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
