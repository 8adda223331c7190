package role

// Told is what the topic's listener and the remote tier were told of a partition's role. The zero
// value is nothing. One goroutine owns it.
type Told struct {
	elected      bool // the listener knows this broker as the leader
	electedEpoch int32

	tier      tierRole
	tierEpoch int32 // the leader epoch of tier
}

// tierRole is what the remote tier takes this broker for.
type tierRole uint8

const (
	detached tierRole = iota
	uploads           // as the leader
	reads             // as a follower
)

// News is what a topic's listener has to be told.
type News uint8

const (
	// NoNews says that it knows.
	NoNews News = iota
	// Elected says that this broker leads, at the state's leader epoch.
	Elected
	// Resigned says that it does not lead any more.
	Resigned
)

// Announce is what a listener has to be told of a state, and what it knows then.
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

// Duty is what is to be done next for a partition beside its role. A role does not wait for it.
type Duty uint8

const (
	// NoDuty says that there is nothing.
	NoDuty Duty = iota
	// AttachTier has the remote tier upload the log, as the leader at the state's leader epoch.
	AttachTier
	// FollowTier has the remote tier read for a follower.
	FollowTier
	// DetachTier has the remote tier let go of the log.
	DetachTier
	// RemoveLog has the log deleted or set aside, as [State.Fate] has said.
	RemoveLog
)

// TierNeeds are what decides whether the remote tier has to know of a partition.
type TierNeeds struct {
	Exists bool // there is a remote tier
	Failed bool // the log's directory has failed
	// Wanted says that the topic has the remote tier enabled, or that a part of the log is only
	// there.
	Wanted bool
}

// Duty is what is to be done next. [Told.Done] tells that it has been.
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

// Done is what others know after a duty was done for a state. RemoveLog is the last one.
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
