package metadata

import "slices"

// Member is a replica as a list of the cluster names it: a broker at the epoch of
// its registration, and the directory that has the log (KIP-858). A broker that
// registers again, or whose log is in another directory, is another member.
type Member struct {
	Broker int32
	Epoch  int64
	// Directory is zero while nobody has said it, and while the log is being moved
	// between directories.
	Directory DirectoryID
}

// Members are the in-sync replicas, each at the broker epoch under which it is
// in sync.
func (p *Partition) Members() []Member { return members(p.ISR, p.ISREpochs, p.ISRDirectories) }

// EligibleMembers are the ELR's, as Members are the ISR's.
func (p *Partition) EligibleMembers() []Member {
	return members(p.ELR, p.ELREpochs, p.ELRDirectories)
}

func members(ids []int32, epochs []int64, directories []DirectoryID) []Member {
	ms := make([]Member, len(ids))
	for i := range ids {
		ms[i] = memberAt(ids, epochs, directories, i)
	}
	return ms
}

// memberAt is one member of parallel lists, of which the later ones may be missing.
func memberAt(ids []int32, epochs []int64, directories []DirectoryID, i int) Member {
	m := Member{Broker: ids[i]}
	if i < len(epochs) {
		m.Epoch = epochs[i]
	}
	if i < len(directories) {
		m.Directory = directories[i]
	}
	return m
}

func (p *Partition) setISR(ms []Member) { p.ISR, p.ISREpochs, p.ISRDirectories = split(ms) }

func (p *Partition) setELR(ms []Member) { p.ELR, p.ELREpochs, p.ELRDirectories = split(ms) }

// split is the reverse of members. Directories of which none is known are left out.
func split(ms []Member) (ids []int32, epochs []int64, directories []DirectoryID) {
	known := false
	for _, m := range ms {
		ids, epochs, directories = append(ids, m.Broker), append(epochs, m.Epoch), append(directories, m.Directory)
		known = known || !m.Directory.IsZero()
	}
	if !known {
		directories = nil
	}
	return ids, epochs, directories
}

// memberOf finds a broker among members.
func memberOf(ms []Member, id int32) (Member, bool) {
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Broker == id })
	if i < 0 {
		return Member{}, false
	}
	return ms[i], true
}

// member is a broker as it is registered now, as a member that it was not before:
// only if it has one directory is it known where its log is.
func (m *Image) member(id int32) (Member, bool) {
	b, ok := m.Brokers[id]
	return Member{Broker: id, Epoch: b.Epoch, Directory: b.onlyDirectory()}, ok
}

// present is a member at the epoch that its broker has now. The log is where it was.
func (m *Image) present(member Member) (Member, bool) {
	b, ok := m.Brokers[member.Broker]
	member.Epoch = b.Epoch
	if member.Directory.IsZero() {
		member.Directory = b.onlyDirectory()
	}
	return member, ok
}

// Live reports that the member's broker is the incarnation that was in sync, and
// that the directory of its log works. Where the directory is not known the epoch
// alone counts: a leader whose log is offline says which one it is, see ISRChange.
func (m *Image) Live(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch == member.Epoch && b.has(member.Directory)
}

// active is Live, and going to stay.
func (m *Image) active(member Member) bool {
	return m.Live(member) && !m.Brokers[member.Broker].InControlledShutdown
}

// ISREligible reports whether a leader may propose a member for the ISR: its
// broker is registered at that epoch and does not stop.
func (m *Image) ISREligible(member Member) bool { return m.active(member) }

// lostNothing reports that a member's broker is registered, and has lost nothing of
// the log since it was one: it is live, or registered again after an end that
// cost nothing.
func (m *Image) lostNothing(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	if !ok || member.Epoch == 0 || !b.has(member.Directory) {
		return false
	}
	return b.Epoch == member.Epoch || b.PreviousBrokerEpoch == member.Epoch && b.kept(member.Directory)
}

// crashed reports that a member's broker is registered and has the log, which may
// lack what was not flushed when its machine crashed. One that is registered and has
// neither survived nor crashed is lost: what it has now may be an empty log.
func (m *Image) crashed(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	if !ok || m.lostNothing(member) || !b.has(member.Directory) {
		return false
	}
	return !member.Directory.IsZero() || member.Epoch > b.LostBrokerEpoch || b.LostBrokerEpoch == 0
}

// fenced reports that a member's broker is not registered: it may have everything.
func (m *Image) fenced(member Member) bool { return m.IsFenced(member.Broker) }

// has reports that a directory works, as far as the broker has said. The unknown one does.
func (b Broker) has(id DirectoryID) bool {
	return id.IsZero() || slices.Contains(b.Directories, id)
}

// kept reports that a directory has lost nothing since PreviousBrokerEpoch. Of the unknown
// one that holds if it holds of all.
func (b Broker) kept(id DirectoryID) bool {
	if id.IsZero() {
		return len(b.LostDirectories) == 0
	}
	return !slices.Contains(b.LostDirectories, id)
}

// onlyDirectory is the directory of a broker that has one, and zero otherwise.
func (b Broker) onlyDirectory() DirectoryID {
	if len(b.Directories) != 1 {
		return DirectoryID{}
	}
	return b.Directories[0]
}

// DirectoriesAssigned reports that the state of every partition which a broker leads names the
// directory of its log there.
func (m *Image) DirectoriesAssigned(broker int32) bool {
	for t := range m.Topics() {
		for _, p := range t.Partitions {
			leader, led := m.Leader(p)
			if one, in := memberOf(p.Members(), broker); led && in && leader.ID == broker && one.Directory.IsZero() {
				return false
			}
		}
	}
	return true
}

// ShouldShutDown tells that a broker which has announced its stop, or is gone, is in
// no one's way: it leads nothing for which another could lead, and is in no
// ISR that could be without it.
func (m *Image) ShouldShutDown(broker int32) bool {
	b, registered := m.Brokers[broker]
	if !registered {
		return true
	}
	if !b.InControlledShutdown {
		return false
	}
	for t := range m.Topics() {
		for _, p := range t.Partitions {
			if slices.Contains(p.ISR, broker) && slices.ContainsFunc(p.Members(), m.active) {
				return false
			}
		}
	}
	return true
}
