package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// event is an operation under way.
type event[M any] struct {
	op     Op[M]
	waiter *Waiter   // of a submitted operation; nil of a posted one
	timer  *armed[M] // of a timer's
}

// decided is an event whose records are not all committed yet. It holds its key.
type decided[M any] struct {
	event[M]
	Decision[M]
	written int // how many records are in the log or on their way
}

// keyLock is who holds a key, and who waits for it, in order.
type keyLock[M any] struct {
	exclusive bool
	shared    int
	parked    []*event[M]
}

// shard coordinates one partition for one election.
type shard[M Machine[M]] struct {
	rt        *Runtime[M]
	partition int32
	epoch     int32
	logger    *slog.Logger
	cancel    context.CancelCauseFunc
	after     <-chan struct{} // the shard of the election before has ended; nil: there was none
	stopped   chan struct{}   // closed by run
	wake      chan struct{}   // holds one token: the queue has something

	mu struct {
		sync.Mutex
		refuse  error // why nothing is accepted: ErrLoading, or what ended the shard
		queue   []*event[M]
		open    int                  // submitted and not finished
		waiters map[*Waiter]struct{} // not answered
	}

	// Owned by run.
	machine  M
	locks    map[string]*keyLock[M]
	pending  []*decided[M] // to be appended
	inflight *flight[M]
	landed   chan error // from the flight's goroutine
	timers   timers[M]
}

func newShard[M Machine[M]](r *Runtime[M], partition, epoch int32, cancel context.CancelCauseFunc) *shard[M] {
	s := &shard[M]{
		rt: r, partition: partition, epoch: epoch, cancel: cancel,
		logger:  r.opts.Logger.With(slog.Int("partition", int(partition)), slog.Int("leader_epoch", int(epoch))),
		stopped: make(chan struct{}), wake: make(chan struct{}, 1), landed: make(chan error, 1),
	}
	s.mu.refuse = ErrLoading
	s.mu.waiters = map[*Waiter]struct{}{}
	return s
}

func (s *shard[M]) submit(op Op[M]) (*Waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.refuse != nil:
		return nil, s.mu.refuse
	case s.mu.open >= s.rt.opts.QueueSize:
		s.rt.metrics.overloads.Inc()
		return nil, ErrOverloaded
	}
	w := &Waiter{done: make(chan struct{})}
	s.mu.waiters[w] = struct{}{}
	s.enqueueLocked(&event[M]{op: op, waiter: w})
	return w, nil
}

func (s *shard[M]) post(op Op[M]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.refuse == nil || errors.Is(s.mu.refuse, ErrLoading) {
		s.enqueueLocked(&event[M]{op: op})
	}
}

// enqueueLocked needs s.mu.
func (s *shard[M]) enqueueLocked(e *event[M]) {
	s.mu.open++
	s.rt.metrics.pending.Inc()
	s.mu.queue = append(s.mu.queue, e)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// stop refuses what comes, answers who waits, and makes run end.
func (s *shard[M]) stop(err error) {
	s.refuse(err, err)
	s.cancel(err)
}

// refuse forgets all operations under way: those who wait get answer, those who
// come get err. What was posted stays in the queue if the shard is to load again.
func (s *shard[M]) refuse(err, answer error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.refuse != nil && !errors.Is(s.mu.refuse, ErrLoading) {
		return // the first reason to stop stays
	}
	s.mu.refuse = err
	if errors.Is(err, ErrLoading) {
		s.mu.queue = slices.DeleteFunc(s.mu.queue, func(e *event[M]) bool { return e.waiter != nil })
	} else {
		s.mu.queue = nil
	}
	s.rt.metrics.pending.Sub(float64(s.mu.open - len(s.mu.queue)))
	s.mu.open = len(s.mu.queue)
	for w := range s.mu.waiters {
		w.err = answer
		close(w.done)
	}
	clear(s.mu.waiters)
}

// run reads the log and serves until the shard is stopped. It returns when
// nothing of the shard runs any more.
func (s *shard[M]) run(ctx context.Context) {
	defer close(s.stopped)
	if s.after != nil {
		<-s.after
	}
	for s.load(ctx) {
		err := s.serve(ctx)
		s.machine.Unloaded()
		s.rt.metrics.shards.WithLabelValues("active").Dec()
		if ctx.Err() != nil {
			break
		}
		s.logger.LogAttrs(ctx, slog.LevelWarn, "reading the log again after an uncertain write", slog.Any("error", err))
		s.refuse(ErrLoading, ErrNotCoordinator)
	}
	s.logger.LogAttrs(ctx, slog.LevelDebug, "resigned", slog.Any("reason", context.Cause(ctx)))
}

// serve handles events until ctx ends or a write was uncertain.
func (s *shard[M]) serve(ctx context.Context) error {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		s.fireTimers(s.takeQueue())
		s.takeOff(ctx)
		alarm.Stop()
		if wait, ok := s.timers.next(s.rt.opts.Now()); ok {
			alarm.Reset(wait)
		}
		select {
		case <-ctx.Done():
			if s.inflight != nil {
				_ = <-s.landed // whoever coordinates next reads from the log what became of it
			}
			return context.Cause(ctx)
		case <-s.wake:
		case <-alarm.C:
		case err := <-s.landed:
			if errors.Is(err, ErrUncertain) {
				s.rt.metrics.appends.WithLabelValues("uncertain").Inc()
				return err // nothing may be decided from this state any more
			}
			s.land(ctx, err)
		}
	}
}

// takeQueue admits what has been submitted, and returns the time until which
// that is everything.
func (s *shard[M]) takeQueue() time.Time {
	s.mu.Lock()
	queue := s.mu.queue
	s.mu.queue = nil
	now := s.rt.opts.Now()
	s.mu.Unlock()
	for _, e := range queue {
		s.admit(e)
	}
	return now
}

// fireTimers admits the operations of timers that were due at that time. What
// was submitted before a deadline goes before the deadline's timer: a heartbeat
// that waited here for its turn still counts.
func (s *shard[M]) fireTimers(now time.Time) {
	for {
		a, ok := s.timers.due(now)
		if !ok {
			return
		}
		s.admit(&event[M]{op: a.Op, timer: a})
	}
}

// admit decides an event, or parks it behind the decisions that hold its key.
func (s *shard[M]) admit(e *event[M]) {
	if e.op.Access != Read {
		l := s.locks[e.op.Key]
		if l != nil && (l.exclusive || len(l.parked) > 0 || (l.shared > 0 && e.op.Access == Exclusive)) {
			l.parked = append(l.parked, e)
			return
		}
	}
	if e.timer != nil && !s.timers.claim(e.timer) {
		return
	}
	d := &decided[M]{event: *e, Decision: e.op.Decide(s.machine, s.rt.opts.Now(), e.waiter)}
	if len(d.Records) == 0 {
		s.commit(d)
		return
	}
	s.hold(d)
	s.pending = append(s.pending, d)
}

func (s *shard[M]) hold(d *decided[M]) {
	l := s.locks[d.op.Key]
	if l == nil {
		l = &keyLock[M]{}
		s.locks[d.op.Key] = l
	}
	if d.op.Access == Shared {
		l.shared++
	} else {
		l.exclusive = true
	}
}

// release lets those go on who wait for the key of d.
func (s *shard[M]) release(d *decided[M]) {
	l := s.locks[d.op.Key]
	if d.op.Access == Shared {
		l.shared--
	} else {
		l.exclusive = false
	}
	parked := l.parked
	l.parked = nil
	for _, e := range parked {
		s.admit(e)
	}
	if l.shared == 0 && !l.exclusive && len(l.parked) == 0 {
		delete(s.locks, d.op.Key)
	}
}

// commit does what was decided. The records have been applied.
func (s *shard[M]) commit(d *decided[M]) {
	if d.Then != nil {
		d.Then(s.machine)
	}
	now := s.rt.opts.Now()
	for _, c := range d.timers {
		if c.cancel {
			s.timers.cancel(c.Key)
		} else {
			s.timers.set(c.Timer, now)
		}
	}
	for _, r := range d.replies {
		s.answer(r.to, r.value, nil)
	}
	s.finish(d)
}

// fail undoes a decision, which is to forget it.
func (s *shard[M]) fail(d *decided[M], err error) {
	if d.waiter != nil {
		s.answer(d.waiter, nil, err)
	}
	if d.timer != nil && !s.timers.running(d.timer.Key) {
		again := d.timer.Timer
		again.After = s.rt.opts.RetryBackoff
		s.timers.set(again, s.rt.opts.Now())
	}
	s.finish(d)
}

func (s *shard[M]) finish(d *decided[M]) {
	if d.timer != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.open > 0 { // else all was forgotten meanwhile
		s.mu.open--
		s.rt.metrics.pending.Dec()
	}
}

func (s *shard[M]) answer(w *Waiter, value any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.mu.waiters[w]; !ok {
		return
	}
	delete(s.mu.waiters, w)
	w.value, w.err = value, err
	close(w.done)
}
