package simulation

import (
	"container/heap"
	"context"
	"hash/fnv"
	"time"
)

// Clock is the time that the stepped code reads through package time. It must show the scheduler's
// time.
type Clock interface {
	Now() time.Time
	// Advance lets d pass. It returns after everything that the passing of time causes by itself,
	// such as the end of a context, has happened.
	Advance(d time.Duration)
}

// scheduler runs events in the order of their times, and those of one time in the order in which
// they were added. It owns the virtual time and all randomness.
type scheduler struct {
	seed    uint64
	clock   Clock
	began   time.Time
	now     time.Duration
	events  events
	made    uint64
	drawn   map[string]uint64 // the number of draws from each stream
	running []*process        // in the order of their starts
	stopped func() bool       // checked before every event
	steps   int
}

func newScheduler(seed uint64, clock Clock) *scheduler {
	return &scheduler{
		seed: seed, clock: clock, began: clock.Now(), drawn: map[string]uint64{},
		stopped: func() bool { return false },
	}
}

// event is something that happens at a time, to a process or to the world.
type event struct {
	at    time.Duration
	order uint64
	to    *process // nil: the world
	do    func()
}

type events []event

func (e *events) Len() int { return len(*e) }

func (e *events) Less(i, j int) bool {
	a, b := &(*e)[i], &(*e)[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }

func (e *events) Push(x any) { *e = append(*e, x.(event)) }

func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = event{}
	*e = (*e)[:len(*e)-1]
	return last
}

// after schedules do for the time when d has passed.
func (s *scheduler) after(d time.Duration, to *process, do func()) {
	s.made++
	heap.Push(&s.events, event{at: s.now + max(d, 0), order: s.made, to: to, do: do})
}

// run runs all events until a time.
func (s *scheduler) run(until time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= until && !s.stopped() {
		e := heap.Pop(&s.events).(event)
		s.pass(e.at)
		s.steps++
		s.happen(e)
		s.poll(e.to)
	}
	if !s.stopped() {
		s.pass(until)
	}
}

func (s *scheduler) pass(to time.Duration) {
	if to > s.now {
		s.clock.Advance(to - s.now)
		s.now = to
	}
}

// happen runs an event, unless its process is dead. For a frozen process it is held until the
// process thaws.
func (s *scheduler) happen(e event) {
	switch {
	case e.to == nil:
		e.do()
	case e.to.dead:
	case e.to.host.frozen:
		e.to.host.held = append(e.to.host.held, e)
	default:
		e.do()
	}
}

// draw returns a random number below n. Each name has its own stream, so what happens in one place
// of the cluster does not change what is drawn in another.
func (s *scheduler) draw(stream string, n int64) int64 {
	if n <= 1 {
		return 0
	}
	s.drawn[stream]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(stream))
	x := mix(mix(s.seed^h.Sum64()) + s.drawn[stream])
	return int64(x % uint64(n))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between returns a random time from least to most.
func (s *scheduler) between(stream string, least, most time.Duration) time.Duration {
	return least + time.Duration(s.draw(stream, int64(most-least)+1))
}

// ended reports whether a context has ended.
func ended(ctx context.Context) bool { return ctx.Err() != nil }
