package metadata

import "slices"

// Member is a replica in an ISR or an ELR: a broker, the broker epoch of its registration, and the
// directory of the log (KIP-858). After the broker has registered again, or with the log in another
// directory, it is another member.
type Member struct {
	Broker int32
	Epoch  int64
	// Directory is zero until the broker has reported it, and while the broker moves the log
	// between directories.
	Directory DirectoryID
}

// Members returns the in-sync replicas.
func (p *Partition) Members() []Member { return members(p.ISR, p.ISREpochs, p.ISRDirectories) }

// EligibleMembers returns the members of the ELR.
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

// memberAt returns one member of parallel lists. The lists after the ids may be shorter.
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

// split is the reverse of members. It returns nil directories if none of them is known.
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

// memberOf returns a broker's member among ms.
func memberOf(ms []Member, id int32) (Member, bool) {
	i := slices.IndexFunc(ms, func(m Member) bool { return m.Broker == id })
	if i < 0 {
		return Member{}, false
	}
	return ms[i], true
}

// member returns a live broker as a new member of a partition. The directory of the log is known
// only if the broker has one directory.
func (m *Image) member(id int32) (Member, bool) {
	b, ok := m.Brokers[id]
	return Member{Broker: id, Epoch: b.Epoch, Directory: b.onlyDirectory()}, ok
}

// present returns a member with its broker's present broker epoch. It returns false if the broker
// is fenced.
func (m *Image) present(member Member) (Member, bool) {
	b, ok := m.Brokers[member.Broker]
	member.Epoch = b.Epoch
	if member.Directory.IsZero() {
		member.Directory = b.onlyDirectory()
	}
	return member, ok
}

// Live reports whether the member's broker still has the registration that was in sync, and the
// directory of the log works. If the directory is not known, only the registration counts: a leader
// with a failed directory names it in an ISRChange.
func (m *Image) Live(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	return ok && b.Epoch == member.Epoch && b.has(member.Directory)
}

// active reports whether a member is Live and its broker is not in controlled shutdown.
func (m *Image) active(member Member) bool {
	return m.Live(member) && !m.Brokers[member.Broker].InControlledShutdown
}

// ISREligible reports whether a leader may propose a member for the ISR.
func (m *Image) ISREligible(member Member) bool { return m.active(member) }

// lostNothing reports whether a member's broker is unfenced and still has all records of the log.
// That is so if the member is Live, or if the broker has registered again after an end without a
// loss: see Broker.PreviousBrokerEpoch and KeptBrokerEpoch.
func (m *Image) lostNothing(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	if !ok || member.Epoch == 0 || !b.has(member.Directory) {
		return false
	}
	return b.Epoch == member.Epoch || b.kept(member.Directory) && b.keptSince(member)
}

// keptSince reports whether the broker still has the logs of the registration that was a member. If
// the directory of the log is not known, this holds only for the last registration: an earlier one
// may have used other disks under the same id.
func (b Broker) keptSince(member Member) bool {
	if b.PreviousBrokerEpoch == member.Epoch {
		return true
	}
	return !member.Directory.IsZero() && !slices.Contains(b.LostSinceKept, member.Directory) &&
		b.KeptBrokerEpoch != 0 && b.KeptBrokerEpoch <= member.Epoch && member.Epoch < b.Epoch
}

// crashed reports whether a member's broker is unfenced and has the log, but may be missing records
// that were not flushed when the machine crashed. If neither crashed nor lostNothing is true of an
// unfenced broker, the log is lost: a new one may be empty.
func (m *Image) crashed(member Member) bool {
	b, ok := m.Brokers[member.Broker]
	if !ok || m.lostNothing(member) || !b.has(member.Directory) {
		return false
	}
	return !member.Directory.IsZero() || member.Epoch > b.LostBrokerEpoch || b.LostBrokerEpoch == 0
}

// fenced reports whether a member's broker is fenced. Its log may have all records.
func (m *Image) fenced(member Member) bool { return m.IsFenced(member.Broker) }

// has reports whether a directory works, by the broker's last report. An unknown directory counts
// as one that works.
func (b Broker) has(id DirectoryID) bool {
	return id.IsZero() || slices.Contains(b.Directories, id)
}

// kept reports whether a directory has lost nothing since PreviousBrokerEpoch. An unknown directory
// may be any of them: kept then returns true only if no directory has lost anything.
func (b Broker) kept(id DirectoryID) bool {
	if id.IsZero() {
		return len(b.LostDirectories) == 0
	}
	return !slices.Contains(b.LostDirectories, id)
}

// onlyDirectory returns the broker's directory if it has exactly one, zero otherwise.
func (b Broker) onlyDirectory() DirectoryID {
	if len(b.Directories) != 1 {
		return DirectoryID{}
	}
	return b.Directories[0]
}

// DirectoriesAssigned reports whether each partition that a broker leads names the directory of the
// leader's log.
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

// ShouldShutDown reports whether a broker that has begun its controlled shutdown can stop. It can
// if no ISR that contains it has an active member: no other replica could lead instead. It returns
// true for a fenced broker, which has stopped already.
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
