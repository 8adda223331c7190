package insync

import (
	"time"

	"github.com/varvelog/varve/metadata"
)

// Step is the protocol: it returns the state that follows from an event, and what has to happen
// then. It consumes s, as append consumes a slice: the caller must not use s again.
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

// step is Step for a leader that stays the leader.
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

// newFollowers returns the other replicas in the state before their first fetch.
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

// imageSeen takes over a newer state of the same leader epoch. Replicas may have been added or
// removed, and a set that was proposed on the older state is either part of this state or will
// never be written. A state that is not newer is ignored: it says nothing about a set that was
// proposed on it and may have been written since.
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

// maybeIncrementHighWatermark advances the high watermark as far as possible.
func (s *State) maybeIncrementHighWatermark(log Log, effects *Effects) {
	if to := s.committable(log); to > s.highWatermark {
		s.highWatermark, effects.HighWatermark = to, to
	}
	effects.Wake = true
}

// committable returns the end of the records that every member of the maximal ISR has. A member
// that has not fetched under its current registration has none.
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
