package insync

import (
	"time"

	"github.com/varvelog/varve/metadata"
)

// Step is the protocol: what a state becomes with an event, and what has to happen then. It takes
// over the state that it is given, as append does a slice: that one must not be used any more.
func Step(s State, e Event) (State, Effects) {
	switch e := e.(type) {
	case BecameLeader:
		return becameLeader(&e)
	case Resigned:
		return State{}, Effects{Wake: true}
	}
	var effects Effects
	if s.lead != nil {
		s.step(e, &effects)
	}
	return s, effects
}

// step is Step of a leader that stays it.
func (s *State) step(e Event, effects *Effects) {
	switch e := e.(type) {
	case FollowerFetched:
		s.followerFetched(&e, effects)
	case Appended:
		s.maybeIncrementHighWatermark(e.Log, effects)
	case Flushed:
		s.maybeIncrementHighWatermark(e.Log, effects)
	case ImageSeen:
		s.imageSeen(&e, effects)
	case Tick:
		s.maybeShrinkISR(&e, effects)
	case DirectoriesDue:
		if s.unplaced(e.Now.Directory) {
			s.propose(s.lead.ISR, e.Now, effects)
		}
	case ProposalAnswered:
		s.answered(&e, effects)
	case SettingsChanged:
		next := *s.lead
		next.settings = e.Settings
		s.lead = &next
		s.maybeIncrementHighWatermark(e.Log, effects)
	}
}

func becameLeader(e *BecameLeader) (State, Effects) {
	lead := &leadership{
		PartitionState: e.Partition, settings: e.Settings, self: e.Self, proposes: e.Proposes, leaderEpochStartOffset: e.Log.End,
	}
	s := State{lead: lead, set: Committed{}, followers: lead.newFollowers(e.Time), highWatermark: e.HighWatermark}
	var effects Effects
	s.maybeIncrementHighWatermark(e.Log, &effects)
	effects.TellDirectories = s.unplaced(e.Directory)
	return s, effects
}

// newFollowers are the other replicas before any of them has fetched.
func (l *leadership) newFollowers(lastCaughtUpTime time.Time) []Follower {
	var list []Follower
	for _, id := range l.Replicas {
		if id != l.self {
			list = append(list, Follower{
				Member: metadata.Member{Broker: id}, End: -1, LogStart: -1, lastCaughtUpTime: lastCaughtUpTime,
			})
		}
	}
	return list
}

// imageSeen takes over a newer state of the same leader epoch: replicas may have come or gone, and
// what was proposed on the older state is part of this one or will never be. A state that is not
// newer says nothing of a set that was proposed on it and may have been written since.
func (s *State) imageSeen(e *ImageSeen, effects *Effects) {
	old, next := *s, *s.lead
	next.PartitionState = e.Partition
	if next.LeaderEpoch != old.lead.LeaderEpoch || next.PartitionEpoch <= old.lead.PartitionEpoch {
		return
	}
	*s = State{lead: &next, set: Committed{}, followers: next.newFollowers(time.Time{}), highWatermark: s.highWatermark}
	for i := range s.followers {
		if f := old.Follower(s.followers[i].Broker); f != nil {
			s.followers[i] = *f
		}
	}
	s.maybeIncrementHighWatermark(e.Log, effects)
	effects.TellDirectories = s.unplaced(e.Directory)
}

// maybeIncrementHighWatermark moves the high watermark as far as it goes.
func (s *State) maybeIncrementHighWatermark(log Log, effects *Effects) {
	if to := s.committable(log); to > s.highWatermark {
		s.highWatermark, effects.HighWatermark = to, to
	}
	effects.Wake = true
}

// committable is the end of what all members of the maximal set have. A member that has not fetched
// since it registered has nothing.
func (s *State) committable(log Log) int64 {
	if !s.lead.EnoughInSync(s.lead.settings.MinInSyncReplicas) || log.DiskFailed {
		return 0
	}
	end := log.End
	if s.lead.settings.FlushFirst {
		end = min(end, log.Flushed)
	}
	for _, m := range s.MaximalISR() {
		if m.Broker == s.lead.self {
			continue
		}
		f := s.Follower(m.Broker)
		if f == nil || f.Epoch != m.Epoch {
			return 0
		}
		end = min(end, f.End)
	}
	return end
}
