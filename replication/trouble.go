package replication

import (
	"errors"
	"log/slog"
	"time"
)

// trouble is that a follower cannot go on with what its leader answers.
type trouble struct {
	since  time.Time
	warned bool
}

// troubleGrace is how long the brokers' images may differ, and the remote tier be asked, before
// that is worth a warning.
const troubleGrace = 5 * time.Second

// passing are the errors that an election or the tier brings along and that end by themselves.
var passing = []error{
	ErrNotLeader, ErrFencedLeaderEpoch, ErrUnknownLeaderEpoch, ErrUnknownTopicOrPartition, ErrOffsetMovedToTier,
}

func passes(err error) bool {
	for _, p := range passing {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}

// stuck warns of a partition that cannot go on, once.
func (f *replicaFetcher) stuck(p *Partition, err error) {
	t, known := f.troubles[p]
	if !known {
		t.since = f.env.now()
	}
	if !t.warned && (!passes(err) || f.env.now().Sub(t.since) > troubleGrace) {
		t.warned = true
		f.env.logger.Warn("a follower cannot go on with what its leader answers, trying again",
			slog.String("partition", p.tp.String()), slog.Int("leader", int(f.key.leader.Broker)), slog.Any("error", err))
	}
	f.troubles[p] = t
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
