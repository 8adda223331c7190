package metadata

import "slices"

// Doubt is what a controller knows of a registration that is older than its own election. When etcd
// elects a leader, as after a restart of the whole cluster, it renews every lease. A dead broker
// then looks alive for one lease TTL.
type Doubt int8

// The stages of a doubt.
const (
	// NoDoubt: the broker has answered since, or its lease would have ended by now.
	NoDoubt Doubt = iota
	// Unknown: the broker has to be probed if a decision depends on it, or is being probed.
	Unknown
	// Silent: the broker does not answer the probe, and its lease has not ended.
	Silent
)

// doubtful reports whether the ISR may shrink to the live members only after a probe. That is so if
// each live member may be dead and another member has registered again, which certainly lives: it
// would be dropped in favor of dead ones. If no member has registered again, a failover does not
// wait.
func (r *ElectionRules) doubtful(image *Image, live, all []Member) bool {
	if r.Doubt == nil || !slices.ContainsFunc(all, image.registeredSince) {
		return false
	}
	return !slices.ContainsFunc(live, func(m Member) bool { return r.Doubt(m) == NoDoubt })
}

// registeredSince reports whether a member's broker has registered again, with a higher broker
// epoch.
func (m *Image) registeredSince(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch > member.Epoch
}

// despiteDoubts decides while all live members may be dead. It elects a member that has registered
// again and has lost nothing: that one has all records and certainly lives. A member that may have
// lost records is neither preferred to one that may live nor dropped in favor of one that may be
// dead: the partition stays as it is until the probes have shown which members live.
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
