package replication

import (
	"errors"
	"log/slog"
	"slices"
	"time"
)

// trouble is the state of a partition whose follower cannot use its leader's answers.
type trouble struct {
	since  time.Time
	warned bool
	pause  time.Duration // the latest one
}

// troubleGrace is how long differing images and reads of the remote tier may take before they cause
// a warning.
const troubleGrace = 5 * time.Second

// electing are the errors that end when leader and follower have seen the same image.
var electing = []error{ErrNotLeader, ErrFencedLeaderEpoch, ErrUnknownLeaderEpoch, ErrUnknownTopicOrPartition}

func isOf(err error, all []error) bool {
	return slices.ContainsFunc(all, func(one error) bool { return errors.Is(err, one) })
}

// passes reports whether an error comes with an election or the tier, and ends by itself.
func passes(err error) bool { return isOf(err, electing) || errors.Is(err, ErrOffsetMovedToTier) }

// next returns the pause after an error, which depends on the pause before.
func (t *trouble) next(err error) time.Duration {
	if isOf(err, electing) {
		return min(max(2*t.pause, electionBackoff), partitionBackoff)
	}
	return partitionBackoff
}

// stuck returns how long to pause a partition that cannot continue, and logs a warning once.
func (f *replicaFetcher) stuck(p *Partition, err error) (pause time.Duration) {
	t, known := f.troubles[p]
	if !known {
		t.since = f.env.now()
	}
	if !t.warned && (!passes(err) || f.env.now().Sub(t.since) > troubleGrace) {
		t.warned = true
		f.env.logger.Warn("a follower cannot go on with what its leader answers, trying again",
			slog.String("partition", p.tp.String()), slog.Int("leader", int(f.key.leader.Broker)), slog.Any("error", err))
	}
	t.pause = t.next(err)
	f.troubles[p] = t
	return t.pause
}

// goesOn ends a partition's trouble.
func (f *replicaFetcher) goesOn(p *Partition) {
	t, known := f.troubles[p]
	if !known {
		return
	}
	delete(f.troubles, p)
	if t.warned {
		f.env.logger.Warn("a follower goes on",
			slog.String("partition", p.tp.String()), slog.Duration("after", f.env.now().Sub(t.since)))
	}
}
