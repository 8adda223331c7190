package insync

import (
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

func (s *State) followerFetched(e *FollowerFetched, effects *Effects) {
	f := s.Follower(e.Follower.Broker)
	if e.LeaderEpoch != s.lead.LeaderEpoch || f == nil || e.Follower.Epoch < f.Epoch {
		return // of another leader epoch, no replica any more, or an earlier process of its broker
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

// fetch records a fetch. A follower has caught up if it has reached the leader's end, or the end
// that the leader had at the follower's previous fetch: under a steady stream of appends it never
// reaches the present end.
func (f *Follower) fetch(e *FollowerFetched) {
	if e.Offset >= e.Log.End {
		f.lastCaughtUpTime = e.Time
	} else if e.Offset >= f.lastFetchLeaderLogEndOffset && f.lastFetchTime.After(f.lastCaughtUpTime) {
		f.lastCaughtUpTime = f.lastFetchTime
	}
	f.End, f.LogStart, f.lastFetchTime, f.lastFetchLeaderLogEndOffset = e.Offset, e.LogStart, e.Time, e.Log.End
}

// maybeExpandISR proposes a follower for the ISR once it has all committed records and all records
// that this leader began with, and once its log start offset is not below the leader's. A follower
// with an earlier log start would, as the next leader, bring back what DeleteRecords or retention
// removed.
func (s *State) maybeExpandISR(f *Follower, e *FollowerFetched, effects *Effects) {
	isr := s.lead.ISR
	at := slices.IndexFunc(isr, func(m metadata.Member) bool { return m.Broker == f.Broker })
	switch {
	case at >= 0 && isr[at].Epoch == f.Epoch: // it is in sync
		return
	case s.set.inflight(), f.End < s.highWatermark, f.End < s.lead.leaderEpochStartOffset, f.LogStart < e.Log.Start:
		return
	// The follower is shutting down, or has another epoch.
	case e.Now.Image != nil && !e.Now.Image.ISREligible(f.Member):
		return
	}
	next := slices.Clone(isr)
	if at >= 0 {
		next[at] = f.Member // it has restarted and caught up again
	} else {
		next = append(next, f.Member)
	}
	s.propose(next, e.Now, effects)
}

// maybeShrinkISR proposes an ISR without the followers that have been behind for too long.
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

// isOutOfSync reports whether a follower in the ISR has been behind, or has been another process
// than the member, for too long. The leader itself is never out of sync.
func (s *State) isOutOfSync(m metadata.Member, end int64, now time.Time, maxLag time.Duration) bool {
	f := s.Follower(m.Broker)
	return f != nil && (f.End < end || f.Epoch != m.Epoch) && now.Sub(f.lastCaughtUpTime) > maxLag
}
