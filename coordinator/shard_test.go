package coordinator_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/coordinator/coordinatortest"
	"github.com/varvelog/varve/record"
)

func TestNothingIsAnsweredOrVisibleBeforeItIsCommitted(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		g := make(gate)
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		waiter := w.submit(add("a", 1))
		synctest.Wait()
		if v := w.do(get("a")); v != 0 {
			t.Errorf("read %v before the commit", v)
		}
		answered := make(chan any, 1)
		go func() {
			v, _ := waiter.Wait(t.Context())
			answered <- v
		}()
		synctest.Wait()
		if len(answered) > 0 {
			t.Error("answered before the commit")
		}
		g <- nil
		if v := <-answered; v != 1 {
			t.Errorf("answer is %v", v)
		}
		if v := w.do(get("a")); v != 1 {
			t.Errorf("read %v after the commit", v)
		}
	})
}

func TestOneAppendCarriesWhatWasDecidedMeanwhile(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		g := make(gate)
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		waiters := []*coordinator.Waiter{w.submit(add("first", 1))}
		synctest.Wait()
		for name := range strings.SplitSeq("abcdefghij", "") {
			waiters = append(waiters, w.submit(add(name, 1)))
		}
		synctest.Wait()
		close(g)
		for _, waiter := range waiters {
			if v, err := waiter.Wait(t.Context()); v != 1 || err != nil {
				t.Errorf("got %v, %v", v, err)
			}
		}
		if n := w.log.Batches(0); n != 2 {
			t.Errorf("%d batches, want 2", n)
		}
		w.liveIsReplayed()
	})
}

func TestOperationsOnOneKeySeeOneAnother(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		var waiters []*coordinator.Waiter
		for range 100 {
			waiters = append(waiters, w.submit(add("a", 1)))
		}
		for i, waiter := range waiters {
			if v, err := waiter.Wait(t.Context()); v != i+1 || err != nil {
				t.Fatalf("operation %d: got %v, %v", i, v, err)
			}
		}
		w.liveIsReplayed()
	})
}

func TestSharedOperationsDoNotWaitForOneAnother(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		g := make(gate)
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		blind := func(name string) op {
			o := add(name, 1)
			o.Key, o.Access = "group", coordinator.Shared
			return o
		}
		first := w.submit(blind("a"))
		synctest.Wait()
		second, exclusive := w.submit(blind("b")), w.submit(op{Key: "group", Decide: func(c *counters, _ time.Time, w *coordinator.Waiter) decision {
			var d decision
			d.Reply(w, c.values["a"]+c.values["b"]+c.values["c"])
			return d
		}})
		late := w.submit(blind("c"))
		synctest.Wait()
		g <- nil
		synctest.Wait()
		g <- nil // carries b, but not c, which came after the exclusive one
		for _, waiter := range []*coordinator.Waiter{first, second} {
			if _, err := waiter.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if v, err := exclusive.Wait(t.Context()); v != 2 || err != nil {
			t.Errorf("the exclusive operation saw %v, %v; want what came before it and no more", v, err)
		}
		g <- nil
		if _, err := late.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusedRecordsChangeNothing(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		w.do(add("a", 5))
		w.log.Before = func(context.Context, int32, record.Batch) error { return coordinator.ErrUnavailable }
		ran := false
		failing := add("a", 1)
		decide := failing.Decide
		failing.Decide = func(c *counters, now time.Time, waiter *coordinator.Waiter) decision {
			d := decide(c, now, waiter)
			d.Then = func(*counters) { ran = true }
			d.SetTimer(timer{Key: coordinator.TimerKey{Kind: "x"}, After: time.Second, Op: op{Decide: func(*counters, time.Time, *coordinator.Waiter) decision {
				ran = true
				return decision{}
			}}})
			return d
		}
		w.fails(failing, coordinator.ErrUnavailable)
		time.Sleep(time.Minute)
		if ran {
			t.Error("the soft state of a refused operation changed")
		}
		w.log.Before = nil
		if v := w.do(add("a", 1)); v != 6 {
			t.Errorf("the next operation made it %v, want 6", v)
		}
		w.liveIsReplayed()
	})
}

func TestTimersAreTriedAgainWhenRecordsAreRefused(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		refusals := 3
		w.log.Before = func(context.Context, int32, record.Batch) error {
			if refusals--; refusals >= 0 {
				return coordinator.ErrUnavailable
			}
			return nil
		}
		w.do(op{Decide: func(_ *counters, _ time.Time, waiter *coordinator.Waiter) decision {
			var d decision
			d.SetTimer(timer{Key: coordinator.TimerKey{Kind: "x"}, Op: add("a", 1)})
			d.Reply(waiter, nil)
			return d
		}})
		time.Sleep(time.Minute)
		if v := w.do(get("a")); v != 1 {
			t.Errorf("a is %v, want 1", v)
		}
		if refusals != -1 {
			t.Errorf("%d refusals are left", refusals)
		}
	})
}

// A timer that was set anew while its refused operation was under way stays.
func TestRetryDoesNotReplaceANewerTimer(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		set := func(o op, after time.Duration) op {
			return op{Access: coordinator.Read, Decide: func(_ *counters, _ time.Time, waiter *coordinator.Waiter) decision {
				var d decision
				d.SetTimer(timer{Key: coordinator.TimerKey{Kind: "x"}, After: after, Op: o})
				d.Reply(waiter, nil)
				return d
			}}
		}
		g := make(gate)
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		w.do(set(add("old", 1), 0))
		synctest.Wait()
		w.do(set(add("new", 1), time.Minute))
		g <- coordinator.ErrUnavailable
		synctest.Wait()
		close(g)
		time.Sleep(time.Hour)
		if v := w.live().values; v["old"] != 0 || v["new"] != 1 {
			w.t.Errorf("state is %v", v)
		}
	})
}

// What an election before has on its way to the log is over before the log is read.
func TestLoadWaitsForTheElectionBefore(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		stuck := make(chan struct{})
		w.log.Before = func(context.Context, int32, record.Batch) error {
			<-stuck // does not mind that ctx has ended
			return nil
		}
		w.submit(add("a", 1))
		synctest.Wait()
		w.rt.Elected(0, 2)
		synctest.Wait()
		w.fails(get("a"), coordinator.ErrLoading)
		close(stuck)
		synctest.Wait()
		if v := w.do(get("a")); v != 1 {
			t.Errorf("a is %v: the log was read too early", v)
		}
	})
}

func TestUncertainWriteReloads(t *testing.T) {
	for _, written := range []bool{true, false} {
		inBubble(t, nil, func(w *world) {
			t := w.t
			w.do(add("a", 1))
			uncertain := func() error { return coordinator.ErrUncertain }
			if written {
				w.log.After = func(int32) error { return uncertain() }
			} else {
				w.log.Before = func(context.Context, int32, record.Batch) error { return uncertain() }
			}
			parked := w.submit(wait("b"))
			synctest.Wait()
			w.fails(add("a", 1), coordinator.ErrNotCoordinator)
			if _, err := parked.Wait(t.Context()); !errors.Is(err, coordinator.ErrNotCoordinator) {
				t.Errorf("who waits in the soft state gets %v", err)
			}
			synctest.Wait()
			w.log.After, w.log.Before = nil, nil
			want := 1
			if written {
				want = 2
			}
			if v := w.do(get("a")); v != want || w.made.Load() != 2 {
				t.Errorf("a is %v in machine %d, want %d in the second", v, w.made.Load(), want)
			}
			w.liveIsReplayed()
		})
	}
}

func TestResigningAnswersWhoeverWaits(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		soft, inFlight := w.submit(wait("s")), w.submit(add("a", 1))
		synctest.Wait()
		parked, queued := w.submit(add("a", 1)), w.submit(add("b", 1))
		w.rt.Resigned(0)
		for i, waiter := range []*coordinator.Waiter{soft, inFlight, parked, queued} {
			if _, err := waiter.Wait(t.Context()); !errors.Is(err, coordinator.ErrNotCoordinator) {
				t.Errorf("waiter %d got %v", i, err)
			}
		}
		w.fails(get("a"), coordinator.ErrNotCoordinator)
		w.rt.Resigned(0) // once more does no harm
		w.log.SetEpoch(0, 2)
		w.log.Before = nil
		w.rt.Elected(0, 2)
		synctest.Wait()
		if v := w.do(add("a", 1)); v != 1 {
			t.Errorf("a is %v after the election, want 1", v)
		}
	})
}

func TestDeposedShardWritesNothing(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.log.SetEpoch(0, 2) // the log knows already, the coordinator does not
		w.fails(add("a", 1), coordinator.ErrNotCoordinator)
		w.fails(add("a", 1), coordinator.ErrNotCoordinator)
		w.liveIsReplayed()
	})
}

func TestElectionInAnEpochThatIsNotNewerIsIgnored(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		parked := w.submit(wait("s"))
		synctest.Wait()
		w.rt.Elected(0, 1)
		w.rt.Elected(0, 0)
		synctest.Wait()
		if w.made.Load() != 1 {
			t.Errorf("%d machines were made, want 1", w.made.Load())
		}
		w.log.SetEpoch(0, 2)
		w.rt.Elected(0, 2)
		if _, err := parked.Wait(t.Context()); !errors.Is(err, coordinator.ErrNotCoordinator) {
			t.Errorf("who waited gets %v", err)
		}
		synctest.Wait()
		w.do(add("a", 1))
	})
}

func TestOverloadIsRefused(t *testing.T) {
	limit := func(o *coordinator.Options[*counters]) { o.QueueSize = 3 }
	inBubble(t, limit, func(w *world) {
		t := w.t
		g := make(gate)
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		var waiters []*coordinator.Waiter
		for range 3 {
			waiters = append(waiters, w.submit(add("a", 1)))
			synctest.Wait()
		}
		w.fails(add("b", 1), coordinator.ErrOverloaded)
		close(g)
		for _, waiter := range waiters {
			if _, err := waiter.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		w.do(add("b", 1))
		for range 10 {
			w.submit(wait("s")) // who waits in the soft state does not count
			synctest.Wait()
		}
	})
}

func TestLargeDecisionsTakeSeveralBatches(t *testing.T) {
	small := func(o *coordinator.Options[*counters]) { o.MaxBatchBytes = 130 }
	inBubble(t, small, func(w *world) {
		t := w.t
		large := op{Key: "k", Decide: func(_ *counters, _ time.Time, waiter *coordinator.Waiter) decision {
			var d decision
			for name := range strings.SplitSeq("abcdefghij", "") {
				d.Records = append(d.Records, set(name, 1))
			}
			d.Reply(waiter, "done")
			return d
		}}
		w.do(large)
		if n := w.log.Batches(0); n < 3 {
			t.Errorf("%d batches", n)
		}
		w.liveIsReplayed()
		if len(w.live().values) != 10 {
			t.Errorf("state is %v", w.live().values)
		}

		// The first batch is refused: the others are not tried.
		w.log.Before = func(context.Context, int32, record.Batch) error {
			w.log.Before = nil
			return coordinator.ErrUnavailable
		}
		written := w.log.Batches(0)
		w.fails(large, coordinator.ErrUnavailable)
		w.do(get("a"))
		synctest.Wait()
		if n := w.log.Batches(0); n != written {
			t.Errorf("%d batches were written", n-written)
		}

		// The second batch is refused: what is in the log is applied, the rest is not,
		// and the key is free again.
		batches := 0
		w.log.Before = func(context.Context, int32, record.Batch) error {
			if batches++; batches == 2 {
				return coordinator.ErrUnavailable
			}
			return nil
		}
		clearing := large
		clearing.Decide = func(_ *counters, _ time.Time, waiter *coordinator.Waiter) decision {
			var d decision
			for name := range strings.SplitSeq("abcdefghij", "") {
				d.Records = append(d.Records, set(name, 0))
			}
			d.Reply(waiter, "done")
			return d
		}
		w.fails(clearing, coordinator.ErrUnavailable)
		w.liveIsReplayed()
		if n := len(w.live().values); n == 0 || n == 10 {
			t.Errorf("%d values are left, want some", n)
		}
		w.do(clearing)
		if len(w.live().values) != 0 {
			t.Errorf("state is %v", w.live().values)
		}
	})
}

func TestIdleShardsAreOneGoroutineEach(t *testing.T) {
	const shards = 50
	log := &coordinatortest.MemLog{}
	rt := coordinator.NewRuntime(coordinator.Options[*counters]{Log: log, New: func(int32) *counters {
		return &counters{values: map[string]int{}, unloaded: new(atomic.Int32)}
	}})
	before := runtime.NumGoroutine()
	for p := range int32(shards) {
		rt.Elected(p, 0)
	}
	for p := range int32(shards) {
		for {
			waiter, err := rt.Submit(p, get("a"))
			if errors.Is(err, coordinator.ErrLoading) {
				runtime.Gosched()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err = waiter.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if n := runtime.NumGoroutine() - before; n > shards {
		t.Errorf("%d goroutines for %d idle shards", n, shards)
	}
	rt.Close()
	if _, err := rt.Submit(0, get("a")); !errors.Is(err, coordinator.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	rt.Elected(1, 9)
	if list := rt.Partitions(); len(list) != 0 {
		t.Errorf("after Close: %v", list)
	}
}

// Any mix of operations, refusals, uncertain writes and elections: every answer
// that was given is in the log, and the live state is what the log says.
func TestLiveStateIsTheReplayedLog(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 30, 60).Draw(rt, "steps")
		faults := rapid.SliceOfN(rapid.IntRange(0, 9), 5, 20).Draw(rt, "faults")
		inBubble(t, func(o *coordinator.Options[*counters]) { o.MaxBatchBytes = 150 }, func(w *world) {
			t := w.t
			epoch, appends := int32(1), 0
			w.log.Before = func(context.Context, int32, record.Batch) error {
				if appends++; faults[appends%len(faults)] == 0 {
					return coordinator.ErrUnavailable
				}
				return nil
			}
			w.log.After = func(int32) error {
				if faults[appends%len(faults)] == 1 {
					return coordinator.ErrUncertain
				}
				return nil
			}
			acknowledged, unknown := map[string]int{}, map[string]int{}
			var waiters []*coordinator.Waiter
			var of []string
			settle := func() {
				for i, waiter := range waiters {
					if _, err := waiter.Wait(t.Context()); err == nil {
						acknowledged[of[i]]++
					} else if !errors.Is(err, coordinator.ErrUnavailable) {
						unknown[of[i]]++
					}
				}
				waiters, of = nil, nil
				synctest.Wait()
				w.liveIsReplayed()
				live := w.live().values
				for _, name := range names {
					if got, least := live[name], acknowledged[name]; got < least || got > least+unknown[name] {
						t.Fatalf("%s is %d after %d acknowledged and %d unknown increments", name, got, least, unknown[name])
					}
				}
			}
			for i, step := range steps {
				switch {
				case step < 7:
					name := names[(i+step)%len(names)]
					if waiter, err := w.rt.Submit(0, add(name, 1)); err == nil {
						waiters, of = append(waiters, waiter), append(of, name)
					}
				case step < 9:
					settle()
				default:
					epoch++
					w.log.SetEpoch(0, epoch)
					w.rt.Elected(0, epoch)
				}
			}
			settle()
		})
	})
}
