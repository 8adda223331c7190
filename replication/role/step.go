package role

import "github.com/varvelog/varve/metadata"

// Event is an input of [Step]: [Seen], [LogOpened] or [Removed].
type Event interface{ event() }

// Seen carries what an image says about a partition that it has on this broker.
type Seen struct {
	View View
	// Elected reports whether the view's leader is registered at the epoch that the view names,
	// with the directory of its log (metadata.Image.Leader).
	Elected bool
	// Self is this broker with the broker epoch of its registration; epoch 0: not registered yet.
	Self metadata.Member
	// Existed reports whether the first image of this process had the partition here. If so its log
	// may be on disk in a directory that has failed.
	Existed bool
	// LogEnd is the end of the log. It does not move until the effects have been carried out.
	LogEnd int64
}

// LogOpened reports that the log is open, whether it was opened or created.
type LogOpened struct{}

// Removed reports that the partition leaves this broker.
type Removed struct{}

func (Seen) event()      {}
func (LogOpened) event() {}
func (Removed) event()   {}

// Change is what has to happen before the next state replaces the old one. If it fails the old
// state stays, and the caller brings the same event again later.
type Change uint8

const (
	// NoChange means that there is nothing to do.
	NoChange Change = iota
	// CreateLog opens the log, or creates it if there is none. LogOpened follows.
	CreateLog
	// ReopenLog opens the log. It creates the log only if no directory of this broker has failed.
	// LogOpened follows.
	ReopenLog
	// MakeLeader begins a leadership: the log records the leader epoch and its start offset.
	MakeLeader
	// UpdateLeader gives a leader a newer state of its leader epoch.
	UpdateLeader
	// MakeFollower ends a leadership, if there was one, and everything that waits for it.
	MakeFollower
	// Leave is MakeFollower for good. [Told.Duty] decides about the log's files.
	Leave
)

// Effects are what has to happen because of an event.
type Effects struct {
	Change Change
	// AwaitEpoch is the broker epoch under which this broker is elected but which it does not have
	// yet. The caller brings the event again when it has that epoch. 0: none.
	AwaitEpoch int64
}

// Step returns the state that follows from an event, and what has to happen for it.
func Step(s State, e Event) (State, Effects) {
	switch e := e.(type) {
	case Seen:
		return s.seen(&e)
	case LogOpened:
		if s.Kind == Absent {
			s = State{Kind: Offline, View: View{Leader: metadata.Member{Broker: metadata.NoBroker}}}
			s.LeaderEpoch = -1
		}
	case Removed:
		if s.Kind != Absent && s.Kind != Gone {
			gone := State{Kind: Gone, View: View{Leader: metadata.Member{Broker: metadata.NoBroker}}}
			gone.LeaderEpoch, gone.PartitionEpoch = s.LeaderEpoch, s.PartitionEpoch
			return gone, Effects{Change: Leave}
		}
	}
	return s, Effects{}
}

func (s *State) seen(e *Seen) (State, Effects) {
	switch {
	case s.Kind == Gone:
		return *s, Effects{}
	case s.Kind == Absent && e.Existed:
		return *s, Effects{Change: ReopenLog}
	case s.Kind == Absent:
		return *s, Effects{Change: CreateLog}
	case e.View.olderThan(&s.View):
		return *s, Effects{}
	}
	next := State{Kind: s.kindOf(e), View: e.View}
	effects := Effects{AwaitEpoch: next.awaits(e)}
	switch {
	case next.Kind == s.Kind && e.View.sameAs(&s.View):
		return *s, effects // a leader's proposal on this state may have been written already
	case next.Kind != Leader:
		effects.Change = MakeFollower
	case !s.LeadsAt(e.View.LeaderEpoch):
		effects.Change, next.LeaderEpochStartOffset = MakeLeader, e.LogEnd
	default:
		effects.Change, next.LeaderEpochStartOffset = UpdateLeader, s.LeaderEpochStartOffset
	}
	return next, effects
}

// kindOf returns what this broker becomes by an image that is not older than the state.
func (s *State) kindOf(e *Seen) Kind {
	switch leader := e.View.Leader; {
	case leader.Broker == metadata.NoBroker:
		return Offline
	case leader.Broker != e.Self.Broker:
		return Follower
	case s.LeadsAt(e.View.LeaderEpoch):
		return Leader // even after the registration has lapsed: no other broker is elected
	case e.Elected && leader.Epoch == e.Self.Epoch:
		return Leader
	default:
		return Unregistered
	}
}

// awaits returns the broker epoch that this broker needs to become what the image says, 0 if none.
func (s *State) awaits(e *Seen) int64 {
	if s.Kind == Unregistered && e.Elected && e.View.Leader.Epoch > e.Self.Epoch {
		return e.View.Leader.Epoch
	}
	return 0
}
