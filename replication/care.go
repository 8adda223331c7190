package replication

import (
	"context"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// care is the remaining work for a partition beside its role: to notify the remote tier of the
// role, and to remove the files of a partition that is gone. A role change does not wait for it.
type care struct {
	running bool
	pause   backoff.Backoff
	due     time.Time
}

// look starts the next step for a partition, if there is one.
func (a *applier) look(p *Partition) {
	c := a.cares[p]
	if c == nil {
		c = &care{pause: backoff.Backoff{Min: retryMin, Max: retryMax}}
		a.cares[p] = c
	}
	if c.running || time.Now().Before(c.due) {
		return
	}
	r, k := p.role.Load(), a.knownOf(p)
	duty := k.told.Duty(r, p.tierNeeds())
	done := func() { k.told = k.told.Done(duty, r) }
	switch duty {
	case role.DetachTier, role.AttachTier, role.FollowTier:
		// The tier ends this job's wait when the partition's role ends, not when the broker's
		// context does.
		a.attend(p, c, &job{tp: p.tp, remote: true, do: func() { p.tellTier(context.Background(), a.tier, duty, r) }, then: done})
	case role.RemoveLog:
		a.removeLog(p, c)
	case role.NoDuty:
		delete(a.cares, p)
	}
}

// tellTier carries out a duty towards the remote tier.
func (p *Partition) tellTier(ctx context.Context, t tierAttacher, duty role.Duty, r *role.State) {
	switch duty {
	case role.AttachTier:
		t.Attach(ctx, p.forTier(r))
	case role.FollowTier:
		t.Follow(ctx, p.forTier(r))
	default: // role.DetachTier
		t.Detach(ctx, p.tp)
	}
}

// attend runs a step and then looks for the next one.
func (a *applier) attend(p *Partition, c *care, j *job) {
	then := j.then
	j.then = func() {
		c.running = false
		then()
		a.look(p)
	}
	c.running = true
	a.pool.add(j)
}

// removeLog deletes the log of a partition that is gone, or sets it aside. It retries until it
// succeeds: a topic of the same name needs the directory.
func (a *applier) removeLog(p *Partition, c *care) {
	var err error
	fate, why := a.knownOf(p).fate, a.knownOf(p).why
	c.running = true
	a.pool.add(&job{tp: p.tp, what: "delete its log", do: func() { err = a.m.removeLog(p, fate, why) }, then: func() {
		c.running = false
		if err == nil {
			delete(a.cares, p)
			delete(a.known, p)
			a.gone(p)
			return
		}
		next := c.pause.Next()
		c.due = time.Now().Add(next)
		a.m.o.Logger.Error("the log of a deleted partition cannot be deleted, trying again",
			slog.String("partition", p.tp.String()), slog.Duration("in", next), slog.Any("error", err))
		a.retry(c.due, func() { a.look(p) })
	}})
}

// tierNeeds returns the facts that decide whether the remote tier has to know the partition.
func (p *Partition) tierNeeds() role.TierNeeds {
	return role.TierNeeds{
		Exists: p.tier != nil, Failed: p.log.Offline() != nil,
		Wanted: p.config.Load().Log.RemoteStorageEnable || p.log.StartOffset() != p.log.LocalStartOffset(),
	}
}

// forTier describes the partition to the remote tier, which uploads the log for the leader, or
// reads it for a follower.
func (p *Partition) forTier(r *role.State) tiering.Partition {
	t := tiering.Partition{
		TopicID: p.topicID, TopicPartition: p.tp, LeaderEpoch: r.LeaderEpoch, Log: p.log,
		Config: func() storage.Config { return p.config.Load().Log }, Stats: &p.traffic.Remote, CommittedEnd: p.tierEnd.Store,
		LossyEpoch: r.LossyEpoch,
	}
	if r.Suspect() {
		t.Suspect = suspect{p, r.LeaderEpoch}
	}
	return t
}
