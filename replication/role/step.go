package role

import "github.com/varvelog/varve/metadata"

// Event is something that [Step] answers to: [Seen], [LogOpened] or [Removed].
type Event interface{ event() }

// Seen is what an image says of a partition that it has on this broker.
type Seen struct {
	View View
	// Elected reports whether the view's leader is registered at the epoch that the view names,
	// with the directory of its log (metadata.Image.Leader).
	Elected bool
	// Self is this broker, with the broker epoch of its registration; 0: it has none yet.
	Self metadata.Member
	// Existed reports whether the first image of this process had the partition here: then its log
	// may be on the disk, in a directory that has failed.
	Existed bool
	// LogEnd is the end of the log, which does not move until the effects have happened.
	LogEnd int64
}

// LogOpened says that the log is open, whether it was opened or created.
type LogOpened struct{}

// Removed says that the partition leaves this broker.
type Removed struct{}

func (Seen) event()      {}
func (LogOpened) event() {}
func (Removed) event()   {}

// Change is what has to happen before a state is replaced by the next one. If that fails the old
// state stays, and the same event is brought again later.
type Change uint8

const (
	// NoChange says that the state stays.
	NoChange Change = iota
	// CreateLog has the log opened, or created if there is none. LogOpened follows.
	CreateLog
	// ReopenLog has the log opened, and created only if no directory of this broker has failed.
	// LogOpened follows.
	ReopenLog
	// MakeLeader begins a leadership: the log notes the leader epoch and its start offset.
	MakeLeader
	// UpdateLeader gives a leader a newer state of its leader epoch.
	UpdateLeader
	// MakeFollower ends a leadership, if there was one, and whatever waits for it.
	MakeFollower
	// Leave is MakeFollower for good. The log's files are a matter of [Told.Duty].
	Leave
)

// Effects are what has to happen for an event.
type Effects struct {
	Change Change
	// AwaitEpoch is the broker epoch of this broker under which it is elected and which it does not
	// have yet. The event is to be brought again when it has. 0: none.
	AwaitEpoch int64
}

// Step is what a state becomes with an event, and what has to happen for that.
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
		return *s, effects // an in-sync set that a leader has proposed on it may be written since
	case next.Kind != Leader:
		effects.Change = MakeFollower
	case !s.LeadsAt(e.View.LeaderEpoch):
		effects.Change, next.LeaderEpochStartOffset = MakeLeader, e.LogEnd
	default:
		effects.Change, next.LeaderEpochStartOffset = UpdateLeader, s.LeaderEpochStartOffset
	}
	return next, effects
}

// kindOf is what this broker is by an image that is not older than the state.
func (s *State) kindOf(e *Seen) Kind {
	switch leader := e.View.Leader; {
	case leader.Broker == metadata.NoBroker:
		return Offline
	case leader.Broker != e.Self.Broker:
		return Follower
	case s.LeadsAt(e.View.LeaderEpoch):
		return Leader // also after the registration has lapsed: no other broker is elected
	case e.Elected && leader.Epoch == e.Self.Epoch:
		return Leader
	default:
		return Unregistered
	}
}

// awaits is the broker epoch that this broker has to have to become what the image says.
func (s *State) awaits(e *Seen) int64 {
	if s.Kind == Unregistered && e.Elected && e.View.Leader.Epoch > e.Self.Epoch {
		return e.View.Leader.Epoch
	}
	return 0
}
