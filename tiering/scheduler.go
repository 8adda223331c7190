package tiering

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/stepped"
)

// lane is a queue with workers of its own: an attachment never waits for the uploads of other
// partitions, and an upload never waits for deletions.
type lane int8

const (
	laneAttach lane = iota
	laneCopy
	laneDelete
	laneCount
)

// task is work that is done one unit at a time, by one worker at most. A partition has one task for
// all its owner's work, and one for its deletions.
type task struct {
	p *partition

	// The scheduler's lock guards the following.
	lane   lane
	hurry  bool          // a reader waits for it: it goes into the queue hurried
	queued *list.Element // in the queue of the lane; nil: not queued
	again  bool          // pushed while a worker had it: it is queued when the worker finishes
	// gone is set for good by remove: the task is never queued or run again.
	gone  bool
	due   time.Time // when it is pushed by the clock; zero: never
	timer int       // index in the heap of timers, if due is not zero
	// cancel ends the worker's current unit. finish closes idle when the unit has ended. Both are
	// nil while no worker has the task.
	cancel context.CancelFunc
	idle   chan struct{}
}

// scheduler hands tasks to workers. A task is with one worker at most and in one queue at most.
// After one unit of work it goes to the end of the queue, so that a partition with a long backlog
// does not starve the others.
type scheduler struct {
	wake  [laneCount]chan struct{} // capacity 1: a queue may have become non-empty
	timer chan struct{}            // capacity 1: the next due time may have changed

	mu struct {
		sync.Mutex
		queues [laneCount]taskQueue
		timers timers
	}
}

// taskQueue returns the tasks for which a reader waits before the others.
type taskQueue struct{ hurried, rest list.List }

func (q *taskQueue) of(t *task) *list.List {
	if t.hurry {
		return &q.hurried
	}
	return &q.rest
}

func (q *taskQueue) len() int { return q.hurried.Len() + q.rest.Len() }

func (q *taskQueue) pop() *task {
	from := &q.hurried
	if from.Len() == 0 {
		from = &q.rest
	}
	if from.Len() == 0 {
		return nil
	}
	t := from.Remove(from.Front()).(*task)
	t.queued, t.hurry = nil, false
	return t
}

func newScheduler() *scheduler {
	s := &scheduler{timer: make(chan struct{}, 1)}
	for i := range s.wake {
		s.wake[i] = make(chan struct{}, 1)
	}
	return s
}

// push queues the task, or notes that it is to be queued again if a worker has it.
func (s *scheduler) push(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushLocked(t)
}

// pushAt pushes the task at a time, unless it is gone by then.
func (s *scheduler) pushAt(t *task, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.gone {
		s.setTimerLocked(t, at)
	}
}

func (s *scheduler) pushLocked(t *task) {
	switch {
	case t.gone || t.queued != nil:
	case t.idle != nil:
		t.again = true
	default:
		t.queued = s.mu.queues[t.lane].of(t).PushBack(t)
		notify(s.wake[t.lane])
	}
}

// hurry moves the task before all for which no reader waits, now or when it is queued next.
func (s *scheduler) hurry(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.hurry || t.gone {
		return
	}
	q := &s.mu.queues[t.lane]
	if t.queued == nil {
		t.hurry = true
		return
	}
	q.of(t).Remove(t.queued)
	t.hurry = true
	t.queued = q.of(t).PushBack(t)
}

// next waits for a task. The worker must call finish for it. The scheduler calls cancel if the
// worker has to stop earlier.
func (s *scheduler) next(ctx context.Context, l lane, cancel context.CancelFunc) (*task, bool) {
	for {
		if t := s.take(l, cancel); t != nil {
			return t, true
		}
		if stepped.Receive(ctx, -1, s.wake[l]); ctx.Err() != nil {
			return nil, false
		}
	}
}

func (s *scheduler) take(l lane, cancel context.CancelFunc) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.queues[l].pop()
	if t == nil {
		return nil
	}
	t.cancel, t.idle = cancel, make(chan struct{})
	if s.mu.queues[l].len() > 0 {
		notify(s.wake[l]) // for another worker
	}
	return t
}

// outcome is the result of a unit of work.
type outcome struct {
	lane  lane
	again bool      // there is more to do
	at    time.Time // when the next unit is due without a push; zero: never
}

// finish takes a task back from its worker.
func (s *scheduler) finish(t *task, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(t.idle)
	t.cancel, t.idle = nil, nil
	if t.gone {
		return
	}
	if t.lane != o.lane {
		t.lane, t.hurry = o.lane, false // the first attempt, for which readers waited, is over
	}
	again := o.again || t.again
	t.again = false
	s.setTimerLocked(t, o.at)
	if again {
		s.pushLocked(t)
	}
}

// remove takes the tasks out for good and waits until no worker has one of them, even if ctx ends.
func (s *scheduler) remove(ctx context.Context, tasks ...*task) {
	var idle []chan struct{}
	s.mu.Lock()
	for _, t := range tasks {
		t.gone = true
		if t.queued != nil {
			s.mu.queues[t.lane].of(t).Remove(t.queued)
			t.queued = nil
		}
		s.setTimerLocked(t, time.Time{})
		if t.idle != nil {
			t.cancel()
			idle = append(idle, t.idle)
		}
	}
	s.mu.Unlock()
	for _, ended := range idle {
		stepped.Done(context.WithoutCancel(ctx), -1, ended)
	}
}

func (s *scheduler) setTimerLocked(t *task, at time.Time) {
	if !t.due.IsZero() {
		heap.Remove(&s.mu.timers, t.timer)
	}
	if t.due = at; !at.IsZero() {
		heap.Push(&s.mu.timers, t)
		notify(s.timer)
	}
}

// release queues the tasks that are due, and returns when the next one is due, zero if
// there is none.
func (s *scheduler) release(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.timers) > 0 {
		t := s.mu.timers[0]
		if t.due.After(now) {
			return t.due
		}
		s.setTimerLocked(t, time.Time{})
		s.pushLocked(t)
	}
	return time.Time{}
}

// keepTime releases tasks when they are due, and calls tick every interval, until ctx ends.
func (s *scheduler) keepTime(ctx context.Context, interval time.Duration, tick func()) {
	nextTick := time.Now().Add(interval)
	for wait := interval; ; {
		if stepped.Receive(ctx, max(wait, time.Millisecond), s.timer); ctx.Err() != nil {
			return
		}
		now := time.Now()
		if !now.Before(nextTick) {
			tick()
			nextTick = now.Add(interval)
		}
		wait = nextTick.Sub(now)
		if due := s.release(now); !due.IsZero() {
			wait = min(wait, due.Sub(now))
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// timers is a heap of the tasks with a due time, the earliest first.
type timers []*task

// Len implements heap.Interface.
func (h *timers) Len() int { return len(*h) }

// Less implements heap.Interface.
func (h *timers) Less(i, j int) bool { return (*h)[i].due.Before((*h)[j].due) }

// Swap implements heap.Interface.
func (h *timers) Swap(i, j int) {
	q := *h
	q[i], q[j] = q[j], q[i]
	q[i].timer, q[j].timer = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	t := x.(*task)
	t.timer = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
