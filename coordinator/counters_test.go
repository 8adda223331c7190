package coordinator_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/coordinator/coordinatortest"
)

// counters is a machine for tests: numbers by name. Setting one to 0 deletes it.
type counters struct {
	values   map[string]int
	waiting  []*coordinator.Waiter // soft
	ticks    []string              // soft: what timers did
	loaded   []timer               // that run after a load
	unloaded *atomic.Int32
}

type (
	decision = coordinator.Decision[*counters]
	op       = coordinator.Op[*counters]
	timer    = coordinator.Timer[*counters]
)

func (c *counters) Apply(r coordinator.Record) error {
	if r.Value == nil {
		delete(c.values, string(r.Key))
		return nil
	}
	n, err := strconv.Atoi(string(r.Value))
	if err != nil {
		return err
	}
	c.values[string(r.Key)] = n
	return nil
}

func (c *counters) Loaded(time.Time) []timer { return c.loaded }

func (c *counters) Unloaded() { c.unloaded.Add(1) }

func set(name string, n int) coordinator.Record {
	r := coordinator.Record{Key: []byte(name)}
	if n != 0 {
		r.Value = []byte(strconv.Itoa(n))
	}
	return r
}

// add is a read, modify, write; it answers the new value.
func add(name string, n int) op {
	return op{Key: name, Decide: func(c *counters, _ time.Time, w *coordinator.Waiter) decision {
		d := decision{Records: []coordinator.Record{set(name, c.values[name]+n)}}
		d.Reply(w, c.values[name]+n)
		return d
	}}
}

// get answers the committed value.
func get(name string) op {
	return op{Access: coordinator.Read, Decide: func(c *counters, _ time.Time, w *coordinator.Waiter) decision {
		var d decision
		d.Reply(w, c.values[name])
		return d
	}}
}

// wait answers when somebody calls.
func wait(name string) op {
	return op{Key: name, Decide: func(_ *counters, _ time.Time, w *coordinator.Waiter) decision {
		return decision{Then: func(c *counters) { c.waiting = append(c.waiting, w) }}
	}}
}

// tick is a timer that records its name.
func tick(name string, after time.Duration) timer {
	return timer{Key: coordinator.TimerKey{Kind: name}, After: after, Op: op{Key: name, Decide: func(*counters, time.Time, *coordinator.Waiter) decision {
		return decision{Then: func(c *counters) { c.ticks = append(c.ticks, name) }}
	}}}
}

// arm sets a timer that records its name, when it is decided.
func arm(name string, after time.Duration) op {
	return op{Key: name, Decide: func(_ *counters, _ time.Time, w *coordinator.Waiter) decision {
		var d decision
		d.SetTimer(tick(name, after))
		d.Reply(w, nil)
		return d
	}}
}

func disarm(name string) op {
	return op{Key: name, Decide: func(_ *counters, _ time.Time, w *coordinator.Waiter) decision {
		var d decision
		d.CancelTimer(coordinator.TimerKey{Kind: name})
		d.Reply(w, nil)
		return d
	}}
}

// world is a runtime over a log in memory, with partition 0 elected in epoch 1.
type world struct {
	t        *testing.T
	log      *coordinatortest.MemLog
	rt       *coordinator.Runtime[*counters]
	loaded   []timer // of machines that are made from now on
	made     atomic.Int32
	unloaded atomic.Int32
}

// inBubble runs a test with a world on virtual time.
func inBubble(t *testing.T, change func(*coordinator.Options[*counters]), test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, log: &coordinatortest.MemLog{}}
		w.log.SetEpoch(0, 1)
		opts := coordinator.Options[*counters]{Name: "test", Log: w.log, New: func(int32) *counters {
			w.made.Add(1)
			return &counters{values: map[string]int{}, loaded: w.loaded, unloaded: &w.unloaded}
		}}
		if change != nil {
			change(&opts)
		}
		w.rt = coordinator.NewRuntime(opts)
		w.rt.Elected(0, 1)
		synctest.Wait()
		defer w.rt.Close() // of a test that ends early
		test(w)
		w.rt.Close()
		if w.made.Load() != w.unloaded.Load() {
			t.Errorf("%d machines were made and %d unloaded", w.made.Load(), w.unloaded.Load())
		}
	})
}

func (w *world) submit(o op) *coordinator.Waiter {
	w.t.Helper()
	waiter, err := w.rt.Submit(0, o)
	if err != nil {
		w.t.Fatalf("submit: %v", err)
	}
	return waiter
}

func (w *world) do(o op) any {
	w.t.Helper()
	value, err := w.submit(o).Wait(w.t.Context())
	if err != nil {
		w.t.Fatalf("wait: %v", err)
	}
	return value
}

func (w *world) fails(o op, want error) {
	w.t.Helper()
	waiter, err := w.rt.Submit(0, o)
	if err == nil {
		_, err = waiter.Wait(w.t.Context())
	}
	if !errors.Is(err, want) {
		w.t.Errorf("got error %v, want %v", err, want)
	}
}

// replayed is what the log says.
func (w *world) replayed() map[string]int {
	w.t.Helper()
	records, err := w.log.Records(0)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &counters{values: map[string]int{}}
	for _, r := range records {
		if err = c.Apply(r); err != nil {
			w.t.Fatal(err)
		}
	}
	return c.values
}

func (w *world) liveIsReplayed() {
	w.t.Helper()
	if live, replayed := w.live().values, w.replayed(); !maps.Equal(live, replayed) {
		w.t.Errorf("live state is %v, the log says %v", live, replayed)
	}
}

// live is a copy of the state, once nothing moves.
func (w *world) live() *counters {
	w.t.Helper()
	synctest.Wait()
	return w.do(op{Access: coordinator.Read, Decide: func(c *counters, _ time.Time, w *coordinator.Waiter) decision {
		var d decision
		d.Reply(w, &counters{values: maps.Clone(c.values), ticks: slices.Clone(c.ticks)})
		return d
	}}).(*counters)
}

// gate holds up appends until it is opened.
type gate chan error

func (g gate) wait(ctx context.Context) error {
	select {
	case err := <-g:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
