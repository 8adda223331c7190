package tiering

import (
	"context"
	"sync"
	"time"
)

// lane is a queue with workers of its own: an attachment never waits for the
// uploads of other partitions.
type lane int8

const (
	laneAttach lane = iota
	laneCopy
	laneCount
)

// scheduler hands partitions to workers. A partition is with one worker at most
// and in one queue at most; after one unit of work it goes to the end of the
// queue, so that a partition with a long backlog does not starve the others.
type scheduler struct {
	wake  [laneCount]chan struct{} // capacity 1: a queue may have become non-empty
	timer chan struct{}            // capacity 1: a delay may have become the shortest

	mu struct {
		sync.Mutex
		queues  [laneCount][]*partition
		delayed map[*partition]time.Time
	}
}

// schedule is the scheduler's part of a partition, under the scheduler's lock.
type schedule struct {
	lane   lane
	queued bool
	again  bool // pushed while a worker had it
	gone   bool
	// cancel ends the worker's unit of work, and idle (closed by the worker) says
	// that it has ended; both are nil when no worker has the partition.
	cancel context.CancelFunc
	idle   chan struct{}
}

func newScheduler() *scheduler {
	s := &scheduler{timer: make(chan struct{}, 1)}
	for i := range s.wake {
		s.wake[i] = make(chan struct{}, 1)
	}
	s.mu.delayed = map[*partition]time.Time{}
	return s
}

// push queues the partition, unless it waits out a delay after a failure.
func (s *scheduler) push(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, delayed := s.mu.delayed[p]; !delayed {
		s.pushLocked(p)
	}
}

func (s *scheduler) pushLocked(p *partition) {
	switch {
	case p.sched.gone || p.sched.queued:
	case p.sched.idle != nil:
		p.sched.again = true
	default:
		p.sched.queued = true
		l := p.sched.lane
		s.mu.queues[l] = append(s.mu.queues[l], p)
		notify(s.wake[l])
	}
}

// next waits for a partition. The worker must call finish for it; cancel is
// called if it has to stop before.
func (s *scheduler) next(ctx context.Context, l lane, cancel context.CancelFunc) (*partition, bool) {
	for {
		if p := s.take(l, cancel); p != nil {
			return p, true
		}
		select {
		case <-s.wake[l]:
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (s *scheduler) take(l lane, cancel context.CancelFunc) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.queues[l]) > 0 {
		p := s.mu.queues[l][0]
		s.mu.queues[l][0] = nil
		s.mu.queues[l] = s.mu.queues[l][1:]
		p.sched.queued = false
		if p.sched.gone {
			continue
		}
		p.sched.cancel, p.sched.idle = cancel, make(chan struct{})
		if len(s.mu.queues[l]) > 0 {
			notify(s.wake[l]) // for another worker
		}
		return p
	}
	return nil
}

// outcome is what a worker says about a unit of work.
type outcome struct {
	lane  lane
	again bool          // there is more to do
	delay time.Duration // not before that
}

func (s *scheduler) finish(p *partition, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(p.sched.idle)
	p.sched.cancel, p.sched.idle = nil, nil
	p.sched.lane = o.lane
	again := o.again || p.sched.again
	p.sched.again = false
	switch {
	case p.sched.gone:
	case o.delay > 0:
		s.mu.delayed[p] = time.Now().Add(o.delay)
		notify(s.timer)
	case again:
		s.pushLocked(p)
	}
}

// remove takes the partition out and waits until no worker has it.
func (s *scheduler) remove(p *partition) {
	s.mu.Lock()
	p.sched.gone = true
	delete(s.mu.delayed, p)
	cancel, idle := p.sched.cancel, p.sched.idle
	s.mu.Unlock()
	if idle != nil {
		cancel()
		<-idle
	}
}

// release queues the partitions whose delay is over and tells when the next one
// is (the zero time: there is none).
func (s *scheduler) release(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	for p, due := range s.mu.delayed {
		switch {
		case !due.After(now):
			delete(s.mu.delayed, p)
			s.pushLocked(p)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}

// keepTime releases delayed partitions when they are due and calls tick every
// interval, until ctx ends.
func (s *scheduler) keepTime(ctx context.Context, interval time.Duration, tick func()) {
	nextTick := time.Now().Add(interval)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.timer:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if !now.Before(nextTick) {
			tick()
			nextTick = now.Add(interval)
		}
		wait := nextTick.Sub(now)
		if due := s.release(now); !due.IsZero() {
			wait = min(wait, due.Sub(now))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
