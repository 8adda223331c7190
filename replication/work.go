package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata"
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
	a.pool.add(&job{tp: w.tp, what: "end", do: func() {
		p.makeFollower(role{gone: true, leaderEpoch: p.role.Load().leaderEpoch, leaderID: metadata.NoBroker})
	}, then: func() {
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
	var err error
	w.running = true
	a.pool.add(&job{tp: w.tp, what: "change its role or settings", do: func() {
		if made {
			p, err = a.m.makePartition(w.tp, wanted.topic.ID, existed)
		}
		if err == nil {
			err = a.m.enact(p, wanted)
		}
	}, then: func() {
		if made && p != nil {
			w.partition = p
			a.made(p)
		}
		if p != nil && w.doomed == nil {
			a.changed = append(a.changed, p)
		}
		a.ended = append(a.ended, attempt{w, wanted, err})
	}, hangs: func(err error) {
		a.m.served.hangs(wanted.topic.ID, w.tp.Partition, err)
	}})
}

// attempt is how it went to make a partition what was wanted.
type attempt struct {
	work   *work
	wanted *want
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
	var early *earlyError
	switch {
	case err == nil, errors.Is(err, errNotElected):
		// Nothing is to be tried again: an image that elects a leader changes the partition.
		err, w.want = nil, nil
		w.pause.Reset()
	case errors.As(err, &early):
		err, w.due, a.early[w] = nil, distantFuture, early.epoch
		a.m.served.waits(id, number, early.epoch)
	default:
		a.failed(w, err)
	}
	if early == nil {
		a.m.served.waits(id, number, 0)
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

// errNotElected says that the image does not say who leads, or names this broker as it was before
// it restarted.
var errNotElected = errors.New("no leader is elected yet")

// earlyError says that the image has this broker elected at an epoch that its registration does not
// have: the answer is still on its way, or the election was this broker id's last process's.
type earlyError struct{ epoch int64 }

func (e *earlyError) Error() string {
	return fmt.Sprintf("elected at broker epoch %d, which this process does not have", e.epoch)
}

// makePartition opens a partition's log, or makes it.
func (m *Manager) makePartition(tp metadata.TopicPartition, id metadata.TopicID, existed bool) (*Partition, error) {
	open := m.o.Storage.Create
	if existed {
		open = m.o.Storage.Reopen
	}
	log, err := open(tp.Topic, tp.Partition, id)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", tp, err)
	}
	return m.newPartition(tp, id, log), nil
}

// enact gives a partition the settings and the role that are wanted.
func (m *Manager) enact(p *Partition, w *want) error {
	p.configure(w.config)
	state := w.topic.Partitions[p.tp.Partition]
	was := p.role.Load()
	leader, elected := w.image.Leader(state)
	mine := elected && leader.ID == m.o.BrokerID
	switch epoch := m.o.brokerEpoch(); {
	case mine && leader.Epoch == epoch,
		was.leader && state.Leader == m.o.BrokerID && was.leaderEpoch == state.LeaderEpoch:
		// The second case: this broker's registration has lapsed. It leads on until another one is
		// elected, since produce and fetch go on without the metadata store.
		return p.makeLeader(roleOf(state))
	case mine && leader.Epoch > epoch:
		p.makeFollower(roleOf(state))
		return &earlyError{leader.Epoch}
	case mine:
		elected = false // an earlier registration of this broker was
	}
	p.makeFollower(roleOf(state))
	if !elected {
		return fmt.Errorf("%s: %w", p.tp, errNotElected)
	}
	return nil
}
