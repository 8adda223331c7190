package simulation

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/stepped"
)

// jumpClock is a clock that the scheduler moves.
type jumpClock struct{ now time.Time }

func (c *jumpClock) Now() time.Time          { return c.now }
func (c *jumpClock) Advance(d time.Duration) { c.now = c.now.Add(d) }

// newTestWorld returns a world without processes.
func newTestWorld(seed uint64) *world {
	w := &world{o: Options{Clock: &jumpClock{}}, sched: newScheduler(seed, &jumpClock{}), counts: map[string]int{}}
	w.net, w.etcd = newNetwork(w.sched), newEtcd(w.sched)
	return w
}

func (w *world) testProcess(id int32, name string) *process {
	p := &process{host: &host{w: w, id: id, name: name}, name: name}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Events run in the order of their times, and those of one time in the order in which they were
// added.
func TestEventsHappenInTheOrderOfTimeAndMaking(t *testing.T) {
	s := newScheduler(1, &jumpClock{})
	var got []string
	note := func(what string) func() { return func() { got = append(got, what) } }
	s.after(2*time.Second, nil, note("c"))
	s.after(time.Second, nil, func() {
		note("a")()
		s.after(time.Second, nil, note("d"))
	})
	s.after(time.Second, nil, note("b"))
	s.after(time.Hour, nil, note("never"))
	s.run(3 * time.Second)
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) || s.now != 3*time.Second {
		t.Errorf("%v at %v", got, s.now)
	}
}

// A draw depends on the seed and on earlier draws of its own stream only.
func TestChanceHasAStreamForEachName(t *testing.T) {
	draw := func(seed uint64, others int) (drawn []int64) {
		s := newScheduler(seed, &jumpClock{})
		for range 20 {
			for range others {
				s.draw("other", 10)
			}
			drawn = append(drawn, s.draw("one", 1000))
		}
		return drawn
	}
	one := draw(1, 0)
	if !slices.Equal(one, draw(1, 3)) {
		t.Error("a stream depends on another one")
	}
	if slices.Equal(one, draw(2, 0)) {
		t.Error("the seed changes nothing")
	}
}

// Events and waits of a frozen process happen after it thaws.
func TestFrozenProcessesGoOnLater(t *testing.T) {
	w := newTestWorld(1)
	p := w.testProcess(1, "broker 1")
	var got []time.Duration
	w.sched.spawn(p.ctx, p, func(ctx context.Context) {
		for range 3 {
			stepped.Pause(ctx, time.Second)
			got = append(got, w.sched.now)
		}
	})
	w.sched.after(2500*time.Millisecond, p, func() { got = append(got, w.sched.now) })
	w.sched.after(1500*time.Millisecond, nil, func() { p.host.freeze(5 * time.Second) })
	w.sched.run(time.Minute)
	thawed := 6500 * time.Millisecond
	if want := []time.Duration{time.Second, thawed, thawed, thawed + time.Second}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The coroutines of a dead process run to their ends, although they wait or hold a lock.
func TestDeadProcessesComeToTheirEnd(t *testing.T) {
	w := newTestWorld(1)
	p := w.testProcess(1, "broker 1")
	ends := 0
	var mu sync.Mutex
	w.sched.spawn(p.ctx, p, func(ctx context.Context) {
		stepped.By(ctx).Go(ctx, func(ctx context.Context) {
			stepped.Lock(ctx, &mu)
			defer mu.Unlock()
			stepped.By(ctx).Wait(ctx, -1, func() bool { return false })
			ends++
		})
		stepped.Pause(ctx, time.Millisecond)
		stepped.Lock(ctx, &mu) // held by the other coroutine
		mu.Unlock()
		stepped.Pause(context.WithoutCancel(ctx), time.Hour) // a dead process does not wait
		ends++
	})
	w.sched.after(2*time.Second, p, func() { t.Error("a dead process does something") })
	w.sched.run(time.Second)
	p.dead = true
	p.cancel()
	w.sched.bury(p)
	w.sched.run(time.Minute)
	if ends != 2 || len(p.waits) != 0 || p.coroutines != 0 {
		t.Errorf("%d coroutines ended, %d wait, %d are left", ends, len(p.waits), p.coroutines)
	}
}
