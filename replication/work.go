package replication

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
)

// work is a partition's way to what the images say, from the first wish that is not fulfilled to
// the last that is. It is known by the partition's name: what a topic leaves behind goes before
// another topic of that name takes its place.
type work struct {
	tp        metadata.TopicPartition
	partition *Partition // that is here; nil: not made yet, or gone
	existed   bool       // the first image had it: its log may be in a directory that is offline
	want      *want      // what it has to become; nil: it is that
	doomed    *round     // the partition has to leave, on account of this image; nil: it stays
	leaving   *Partition // one that is out of service already, and whose files are still there
	running   bool       // a job sees to it
	pause     backoff.Backoff
	due       time.Time // not before that
}

// want is what a partition has to become.
type want struct {
	image  *metadata.Image
	topic  *metadata.Topic // one that has the partition here
	config *Config         // of the topic, shared by its partitions
	round  *round          // nil: has been told of the end
}

func (w *want) end() {
	if w.round != nil {
		w.round.end()
	}
	w.round = nil
}

// The pauses after a partition could not become what it has to, on a full disk say.
const (
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// makes tells whether a partition of the topic is on its way.
func (w *work) makes(id metadata.TopicID) bool {
	return w != nil && w.want != nil && w.want.topic.ID == id
}

// supersedes reports whether what is wanted is a partition of another topic than the one that is
// here, which had the same name.
func (w *work) supersedes() bool {
	return w.want != nil && w.partition != nil && w.partition.topicID != w.want.topic.ID
}

// workOf is the work on a partition, which is p if it is here.
func (a *applier) workOf(tp metadata.TopicPartition, p *Partition) *work {
	w := a.works[tp]
	if w == nil {
		w = &work{tp: tp, partition: p, pause: backoff.Backoff{Min: retryMin, Max: retryMax}}
		a.works[tp] = w
	}
	return w
}

// want has a partition become what an image says, in the place of what older ones have said.
func (a *applier) want(tp metadata.TopicPartition, p *Partition, next *want) {
	w := a.workOf(tp, p)
	w.existed = w.existed && w.makes(next.topic.ID) || !a.began
	a.overtake(w)
	w.want, w.due = next, time.Time{}
	next.round.begin()
	a.m.served.wants(next.topic.ID, tp.Partition, next.image.ContentRevision)
	a.advance(w)
}

// overtake ends the wait for a wish that is not fulfilled. A job that sees to it goes on.
func (a *applier) overtake(w *work) {
	if w.want != nil {
		w.want.end()
	}
	delete(a.early, w)
}

// advance has the next step done, if there is one and nothing has to come before it.
func (a *applier) advance(w *work) {
	switch {
	case w.running || w.leaving != nil || a.works[w.tp] != w:
	case w.doomed != nil:
		a.leave(w)
	case w.want == nil:
		delete(a.works, w.tp)
	case w.supersedes():
		// The partition that is here was made too late and has to leave: made has asked for that.
	case time.Now().Before(w.due):
		// retry comes back
	default:
		a.become(w, w.want)
	}
}

// leave takes a partition out of service. The index does not have it any more.
func (a *applier) leave(w *work) {
	p := w.partition
	w.running = true
	a.pool.add(&job{tp: w.tp, what: "end", do: p.leave, then: func() {
		w.doomed.end()
		w.running, w.doomed, w.partition, w.leaving = false, nil, nil, p
		a.tell(p)
		a.count(p, counted{})
		a.look(p)
	}})
}

// gone has a work go on after the files of the partition that was there before are gone.
func (a *applier) gone(p *Partition) {
	if w := a.works[p.tp]; w != nil && w.leaving == p {
		w.leaving = nil
		a.advance(w)
	}
}

// become makes a partition what is wanted.
func (a *applier) become(w *work, wanted *want) {
	p, existed := w.partition, w.existed
	made := p == nil
	var awaits int64
	var err error
	w.running = true
	a.pool.add(&job{tp: w.tp, what: "change its role or settings", do: func() {
		p, awaits, err = a.m.follow(w.tp, p, wanted, existed)
	}, then: func() {
		if made && p != nil {
			w.partition = p
			a.made(p)
		}
		if p != nil && w.doomed == nil {
			a.changed = append(a.changed, p)
		}
		a.ended = append(a.ended, attempt{w, wanted, awaits, err})
	}, hangs: func(err error) {
		a.m.served.hangs(wanted.topic.ID, w.tp.Partition, err)
	}})
}

// attempt is how it went to make a partition what was wanted.
type attempt struct {
	work   *work
	wanted *want
	awaits int64 // the broker epoch that this broker has to have first; 0: none
	err    error
}

// made has clients see a partition. The newest image may not have it here any more.
func (a *applier) made(p *Partition) {
	a.added = append(a.added, p)
	if !a.here(a.image, p.topicID, p.tp) {
		a.again[p.topicID], a.lookAgain = true, true
	}
}

// became notes how it went, after clients can see that. A failure is tried again unless there is
// something newer to become.
func (a *applier) became(t attempt) {
	w, wanted, err := t.work, t.wanted, t.err
	w.running = false
	wanted.end()
	id, number := wanted.topic.ID, w.tp.Partition
	if w.want != wanted {
		if w.makes(id) {
			a.m.served.settles(id, number, wanted.image.ContentRevision, true, err)
		} else {
			a.m.served.forget(id, number)
		}
		a.advance(w)
		return
	}
	a.m.served.waits(id, number, t.awaits)
	switch {
	case err != nil:
		a.failed(w, err)
	case t.awaits != 0:
		w.due, a.early[w] = distantFuture, t.awaits
	default:
		w.want = nil
		w.pause.Reset()
	}
	a.m.served.settles(id, number, wanted.image.ContentRevision, false, err)
	a.advance(w)
}

// distantFuture is when a step is due that waits for something else than time.
var distantFuture = time.Unix(1<<40, 0)

// failed has a partition tried again.
func (a *applier) failed(w *work, err error) {
	next := w.pause.Next()
	w.due = time.Now().Add(next)
	a.retry(w.due, func() { a.advance(w) })
	a.m.o.Logger.Error("partition cannot be served, trying again",
		slog.String("topic", w.tp.Topic), slog.Int("partition", int(w.tp.Partition)),
		slog.Duration("in", next), slog.Any("error", err))
}

// lookAtEarly has the partitions go on that this broker's registration has the epoch of by now.
func (a *applier) lookAtEarly() {
	now := a.m.o.brokerEpoch()
	for w, epoch := range a.early {
		if epoch <= now {
			delete(a.early, w)
			w.due = time.Time{}
			a.advance(w)
		}
	}
}

// follow gives a partition the settings and the role that are wanted, after it has opened its log
// if p is nil. It returns the partition if its log is open, and the broker epoch that the role
// waits for, 0 if it does not wait. existed says that the first image had the partition here.
func (m *Manager) follow(tp metadata.TopicPartition, p *Partition, w *want, existed bool) (*Partition, int64, error) {
	state := w.topic.Partitions[tp.Partition]
	_, elected := w.image.Leader(state)
	seen := role.Seen{View: role.ViewOf(state), Elected: elected, Self: m.self(), Existed: existed}
	if p == nil {
		_, effects := role.Step(role.State{}, seen)
		log, err := m.openLog(tp, w.topic.ID, effects.Change)
		if err != nil {
			return nil, 0, fmt.Errorf("create log of %s: %w", tp, err)
		}
		p = m.newPartition(tp, w.topic.ID, log)
	}
	p.configure(w.config)
	effects, err := p.become(seen)
	return p, effects.AwaitEpoch, err
}

// openLog opens a partition's log, or makes it.
func (m *Manager) openLog(tp metadata.TopicPartition, id metadata.TopicID, how role.Change) (*storage.Log, error) {
	if how == role.ReopenLog {
		return m.o.Storage.Reopen(tp.Topic, tp.Partition, id)
	}
	return m.o.Storage.Create(tp.Topic, tp.Partition, id)
}
