package insync

import (
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

func (s *State) followerFetched(e *FollowerFetched, effects *Effects) {
	f := s.Follower(e.Follower.Broker)
	if e.LeaderEpoch != s.lead.LeaderEpoch || f == nil || e.Follower.Epoch < f.Epoch {
		return // of another epoch, not a replica any more, or a process that has a successor
	}
	if e.Follower.Epoch > f.Epoch {
		*f = Follower{Member: e.Follower, lastCaughtUpTime: f.lastCaughtUpTime, LogStart: -1}
	}
	f.Directory = e.Follower.Directory
	advanced, deleted := e.Offset != f.End, e.LogStart != f.LogStart
	f.fetch(e)
	effects.TellDirectories = s.misplaced(f)
	s.maybeExpandISR(f, e, effects)
	if advanced {
		s.maybeIncrementHighWatermark(e.Log, effects)
	}
	effects.Wake = effects.Wake || deleted
}

// fetch notes a fetch. A follower has caught up if it has the leader's end, or what was the
// leader's end when it fetched the last time: with appends all the time it never has the former.
func (f *Follower) fetch(e *FollowerFetched) {
	if e.Offset >= e.Log.End {
		f.lastCaughtUpTime = e.Time
	} else if e.Offset >= f.lastFetchLeaderLogEndOffset && f.lastFetchTime.After(f.lastCaughtUpTime) {
		f.lastCaughtUpTime = f.lastFetchTime
	}
	f.End, f.LogStart, f.lastFetchTime, f.lastFetchLeaderLogEndOffset = e.Offset, e.LogStart, e.Time, e.Log.End
}

// maybeExpandISR proposes a follower for the in-sync set, once it has all that is committed and all
// that this leader began with, and has deleted what this leader has: as the next leader it would
// give back what DeleteRecords or retention took away.
func (s *State) maybeExpandISR(f *Follower, e *FollowerFetched, effects *Effects) {
	isr := s.lead.ISR
	at := slices.IndexFunc(isr, func(m metadata.Member) bool { return m.Broker == f.Broker })
	switch {
	case at >= 0 && isr[at].Epoch == f.Epoch: // it is in sync
		return
	case s.set.inflight(), f.End < s.highWatermark, f.End < s.lead.leaderEpochStartOffset, f.LogStart < e.Log.Start:
		return
	case e.Now.Image != nil && !e.Now.Image.ISREligible(f.Member): // it stops, or has another epoch
		return
	}
	next := slices.Clone(isr)
	if at >= 0 {
		next[at] = f.Member // it has restarted and is back
	} else {
		next = append(next, f.Member)
	}
	s.propose(next, e.Now, effects)
}

// maybeShrinkISR proposes to go on without the followers that have lacked something for too long.
func (s *State) maybeShrinkISR(e *Tick, effects *Effects) {
	isr := s.lead.ISR
	if len(isr) <= 1 || e.Log.DiskFailed || s.set.inflight() {
		return
	}
	var next []metadata.Member
	for i, m := range isr {
		behind := s.isOutOfSync(m, e.Log.End, e.Time, e.MaxLag)
		switch {
		case behind && next == nil:
			next = append(make([]metadata.Member, 0, len(isr)), isr[:i]...)
		case !behind && next != nil:
			next = append(next, m)
		}
	}
	if next != nil {
		s.propose(next, e.Now, effects)
	}
}

// isOutOfSync reports whether a follower in the set has lacked something, or was another process,
// for too long. The leader has all that there is.
func (s *State) isOutOfSync(m metadata.Member, end int64, now time.Time, maxLag time.Duration) bool {
	f := s.Follower(m.Broker)
	return f != nil && (f.End < end || f.Epoch != m.Epoch) && now.Sub(f.lastCaughtUpTime) > maxLag
}
