package replication

import (
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// care is what is left to be done for a partition beside its role: the remote tier has to know
// that, and what is gone leaves its files. A role does not wait for it.
type care struct {
	running bool
	pause   backoff.Backoff
	due     time.Time
}

// look has the next step for a partition done, if there is one.
func (a *applier) look(p *Partition) {
	c := a.cares[p]
	if c == nil {
		c = &care{pause: backoff.Backoff{Min: retryMin, Max: retryMax}}
		a.cares[p] = c
	}
	if c.running || time.Now().Before(c.due) {
		return
	}
	r := p.role.Load()
	switch {
	case r.gone && p.attached:
		a.attend(p, c, &job{tp: p.tp, remote: true, do: func() { p.tier.Detach(p.tp) }, then: func() { p.attached = false }})
	case r.gone:
		a.clearAway(p, c)
	case p.attachable(r):
		a.attend(p, c, &job{tp: p.tp, remote: true, do: func() { p.attach(r) }, then: func() { p.attached, p.attachedAs = true, *r }})
	default:
		delete(a.cares, p)
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

// clearAway deletes the log of a partition that is gone. It is tried until it succeeds: a topic of
// the same name needs the place.
func (a *applier) clearAway(p *Partition, c *care) {
	var err error
	c.running = true
	a.pool.add(&job{tp: p.tp, what: "delete its log", do: func() { err = a.m.deleteLog(p) }, then: func() {
		c.running = false
		if err == nil {
			delete(a.cares, p)
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

// attachable tells whether the remote tier has to hear of the role: at every leader epoch again.
func (p *Partition) attachable(r *role) bool {
	switch {
	case p.tier == nil, p.log.Offline() != nil:
		return false
	case p.attached && p.attachedAs.leader == r.leader && p.attachedAs.leaderEpoch == r.leaderEpoch:
		return false
	case !p.attached && !p.config.Load().Log.RemoteStorageEnable && p.log.StartOffset() == p.log.LocalStartOffset():
		return false // the topic has no remote tier, and had none
	}
	return true
}

// attach hands the log to the remote tier: to be uploaded by the leader, to be read on a follower.
func (p *Partition) attach(r *role) {
	partition := tiering.Partition{
		TopicID: p.topicID, TopicPartition: p.tp, LeaderEpoch: r.leaderEpoch, Log: p.log,
		Config: func() storage.Config { return p.config.Load().Log }, Stats: &p.traffic.Remote, CommittedEnd: p.tierEnd.Store,
	}
	if r.leader {
		p.tier.Attach(partition)
	} else {
		p.tier.Follow(partition)
	}
}
