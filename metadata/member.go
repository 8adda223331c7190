package metadata

import "slices"

// Member is a broker at the epoch of its registration.
type Member struct {
	Broker int32
	Epoch  int64
}

// Members are the in-sync replicas, each at the broker epoch under which it is
// in sync.
func (p *Partition) Members() []Member { return members(p.ISR, p.ISREpochs) }

// EligibleMembers are the ELR's, as Members are the ISR's.
func (p *Partition) EligibleMembers() []Member { return members(p.ELR, p.ELREpochs) }

func members(ids []int32, epochs []int64) []Member {
	ms := make([]Member, len(ids))
	for i, id := range ids {
		ms[i].Broker = id
		if i < len(epochs) {
			ms[i].Epoch = epochs[i]
		}
	}
	return ms
}

func (p *Partition) setISR(ms []Member) { p.ISR, p.ISREpochs = split(ms) }

func (p *Partition) setELR(ms []Member) { p.ELR, p.ELREpochs = split(ms) }

// split is the reverse of members.
func split(ms []Member) (ids []int32, epochs []int64) {
	for _, m := range ms {
		ids, epochs = append(ids, m.Broker), append(epochs, m.Epoch)
	}
	return ids, epochs
}

// memberOf finds a broker among members.
func memberOf(ms []Member, id int32) (Member, bool) {
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Broker == id })
	if i < 0 {
		return Member{}, false
	}
	return ms[i], true
}

// member is a broker as it is registered now.
func (m *Image) member(id int32) (Member, bool) {
	b, ok := m.Brokers[id]
	return Member{Broker: id, Epoch: b.Epoch}, ok
}

// live tells that the member's broker is the incarnation that was in sync.
func (m *Image) live(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch == member.Epoch
}

// ready is live, and going to stay.
func (m *Image) ready(member Member) bool {
	return m.live(member) && !m.Brokers[member.Broker].Stopping
}

// ISREligible reports whether a leader may propose a member for the ISR: its
// broker is registered at that epoch and does not stop.
func (m *Image) ISREligible(member Member) bool { return m.ready(member) }

// survived tells that a member's broker is registered, and has lost nothing
// since it was one: it is live, or has shut down cleanly in between.
func (m *Image) survived(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && member.Epoch != 0 && (b.Epoch == member.Epoch || b.PreviousEpoch == member.Epoch)
}

// Drained tells that a broker which has announced its stop, or is gone, is in
// no one's way: it leads nothing for which another could lead, and is in no
// ISR that could be without it.
func (m *Image) Drained(broker int32) bool {
	b, registered := m.Brokers[broker]
	if !registered {
		return true
	}
	if !b.Stopping {
		return false
	}
	for _, t := range m.byName {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if slices.Contains(p.ISR, broker) && slices.ContainsFunc(p.Members(), m.ready) {
				return false
			}
		}
	}
	return true
}
