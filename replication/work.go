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

// work tracks a partition on its way to what the images say, from the first unfulfilled wish to the
// last fulfilled one. Its key is the partition's name: the files of a deleted topic are removed
// before another topic of that name takes their place.
type work struct {
	tp        metadata.TopicPartition
	partition *Partition // the partition that is here; nil: not created yet, or gone
	// existed: the first image had the partition here, so its log may be in a directory that is
	// offline.
	existed bool
	want    *want  // what the partition has to become; nil: it is that
	doomed  *round // the round of the image that removes the partition; nil: it stays
	// leaving is out of service already; its files are still there.
	leaving *Partition
	running bool // a job is at work on it
	pause   backoff.Backoff
	due     time.Time // the next attempt is not made earlier
}

// want is what a partition has to become.
type want struct {
	image  *metadata.Image
	topic  *metadata.Topic // the version that has the partition on this broker
	config *Config         // of the topic, shared by its partitions
	round  *round          // nil: end was called
}

func (w *want) end() {
	if w.round != nil {
		w.round.end()
	}
	w.round = nil
}

// The pauses after a failed attempt, for example on a full disk.
const (
	retryMin = time.Second
	retryMax = 30 * time.Second
)

// makes reports whether a partition of this topic is in progress.
func (w *work) makes(id metadata.TopicID) bool {
	return w != nil && w.want != nil && w.want.topic.ID == id
}

// supersedes reports whether the wanted partition belongs to another topic than the one that is
// here, which had the same name.
func (w *work) supersedes() bool {
	return w.want != nil && w.partition != nil && w.partition.topicID != w.want.topic.ID
}

// workOf returns the work on a partition, and creates it if there is none. p is the partition if it
// is here.
func (a *applier) workOf(tp metadata.TopicPartition, p *Partition) *work {
	w := a.works[tp]
	if w == nil {
		w = &work{tp: tp, partition: p, pause: backoff.Backoff{Min: retryMin, Max: retryMax}}
		a.works[tp] = w
	}
	return w
}

// want records what an image wants a partition to become, in place of older wishes.
func (a *applier) want(tp metadata.TopicPartition, p *Partition, next *want) {
	w := a.workOf(tp, p)
	w.existed = w.existed && w.makes(next.topic.ID) || !a.began
	a.overtake(w)
	w.want, w.due = next, time.Time{}
	next.round.begin()
	a.m.served.wants(next.topic.ID, tp.Partition, next.image.ContentRevision)
	a.advance(w)
}

// overtake ends the wait for an unfulfilled wish. A job that works on it continues.
func (a *applier) overtake(w *work) {
	if w.want != nil {
		w.want.end()
	}
	delete(a.early, w)
}

// advance starts the next step, if there is one and nothing has to happen before it.
func (a *applier) advance(w *work) {
	switch {
	case w.running || w.leaving != nil || a.works[w.tp] != w:
	case w.doomed != nil:
		a.leave(w)
	case w.want == nil:
		delete(a.works, w.tp)
	case w.supersedes():
		// The partition that is here was created too late and has to leave: made has requested
		// that.
	case time.Now().Before(w.due):
		// A retry calls advance again.
	default:
		a.become(w, w.want)
	}
}

// leave takes a partition out of service. It is already missing in the index.
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

// gone continues a work after the files of the earlier partition of that name have been removed.
func (a *applier) gone(p *Partition) {
	if w := a.works[p.tp]; w != nil && w.leaving == p {
		w.leaving = nil
		a.advance(w)
	}
}

// become starts the job that turns a partition into what is wanted.
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

// attempt is the outcome of one job of become.
type attempt struct {
	work   *work
	wanted *want
	awaits int64 // the broker epoch that this broker must have first; 0: none
	err    error
}

// made queues a new partition for publication. If the newest image does not have it on this broker
// any more, the image is applied again, which removes it.
func (a *applier) made(p *Partition) {
	a.added = append(a.added, p)
	if !a.here(a.image, p.topicID, p.tp) {
		a.again[p.topicID], a.lookAgain = true, true
	}
}

// became records the outcome after it is visible to clients. A failure is retried unless there is a
// newer wish.
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

// distantFuture is the due time of a step that waits for something other than time.
var distantFuture = time.Unix(1<<40, 0)

// failed schedules another attempt for a partition.
func (a *applier) failed(w *work, err error) {
	next := w.pause.Next()
	w.due = time.Now().Add(next)
	a.retry(w.due, func() { a.advance(w) })
	a.m.o.Logger.Error("partition cannot be served, trying again",
		slog.String("topic", w.tp.Topic), slog.Int("partition", int(w.tp.Partition)),
		slog.Duration("in", next), slog.Any("error", err))
}

// lookAtEarly resumes the partitions whose required broker epoch this broker's registration has
// reached.
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

// follow gives a partition the wanted settings and role, after opening its log if p is nil. It
// returns the partition if its log is open, and the broker epoch that the role waits for, 0 if
// none. existed means that the first image had the partition here.
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

// openLog opens a partition's log, or creates it.
func (m *Manager) openLog(tp metadata.TopicPartition, id metadata.TopicID, how role.Change) (*storage.Log, error) {
	if how == role.ReopenLog {
		return m.o.Storage.Reopen(tp.Topic, tp.Partition, id)
	}
	return m.o.Storage.Create(tp.Topic, tp.Partition, id)
}
