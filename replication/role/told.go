package role

// Told records what the topic's listener and the remote tier have been notified of about a
// partition's role. The zero value means nothing yet. It belongs to one goroutine.
type Told struct {
	elected      bool // the listener knows this broker as the leader
	electedEpoch int32

	tier      tierRole
	tierEpoch int32 // the leader epoch that the tier knows
}

// tierRole is the role in which the remote tier knows this broker.
type tierRole uint8

const (
	detached tierRole = iota
	uploads           // as the leader
	reads             // as a follower
)

// News is the notification that a topic's listener needs.
type News uint8

const (
	// NoNews means that the listener is up to date.
	NoNews News = iota
	// Elected means that this broker leads, at the state's leader epoch.
	Elected
	// Resigned means that this broker no longer leads.
	Resigned
)

// Announce returns the notification that a state calls for, and the record after it was sent.
func (t Told) Announce(s *State) (Told, News) {
	switch {
	case s.Kind == Leader && (!t.elected || t.electedEpoch != s.LeaderEpoch):
		t.elected, t.electedEpoch = true, s.LeaderEpoch
		return t, Elected
	case s.Kind != Leader && t.elected:
		t.elected = false
		return t, Resigned
	default:
		return t, NoNews
	}
}

// Duty is the next thing to do for a partition beside its role. A role change does not wait for it.
type Duty uint8

const (
	// NoDuty means that there is nothing to do.
	NoDuty Duty = iota
	// AttachTier makes the remote tier upload the log, as the leader at the state's leader epoch.
	AttachTier
	// FollowTier makes the remote tier serve reads for a follower.
	FollowTier
	// DetachTier makes the remote tier give up the log.
	DetachTier
	// RemoveLog deletes the log or sets it aside, as [State.Fate] decided.
	RemoveLog
)

// TierNeeds holds the facts that decide whether the remote tier has to know a partition.
type TierNeeds struct {
	Exists bool // there is a remote tier
	Failed bool // the log's directory has failed
	// Wanted means that the topic has the remote tier enabled, or that a part of the log exists
	// only there.
	Wanted bool
}

// Duty returns what to do next. The caller records with [Told.Done] that it was done.
func (t Told) Duty(s *State, n TierNeeds) Duty {
	switch {
	case s.Kind == Gone && t.tier != detached:
		return DetachTier
	case s.Kind == Gone:
		return RemoveLog
	case s.Kind == Absent, !n.Exists, n.Failed:
		return NoDuty
	case t.tier == tierRoleOf(s) && t.tierEpoch == s.LeaderEpoch:
		return NoDuty
	case t.tier == detached && !n.Wanted && !s.Suspect():
		return NoDuty
	case s.Kind == Leader:
		return AttachTier
	default:
		return FollowTier
	}
}

// Done returns the record after a duty was done for a state. RemoveLog is the last duty.
func (t Told) Done(d Duty, s *State) Told {
	switch d {
	case AttachTier, FollowTier:
		t.tier, t.tierEpoch = tierRoleOf(s), s.LeaderEpoch
	case DetachTier:
		t.tier = detached
	case NoDuty, RemoveLog:
	}
	return t
}

func tierRoleOf(s *State) tierRole {
	if s.Kind == Leader {
		return uploads
	}
	return reads
}
