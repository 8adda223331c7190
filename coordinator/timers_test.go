package coordinator_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/record"
)

func (w *world) ticked(want ...string) {
	w.t.Helper()
	if ticks := w.live().ticks; !slices.Equal(ticks, want) {
		w.t.Errorf("ticks are %q, want %q", ticks, want)
	}
}

func TestTimersFireInOrder(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.do(arm("b", 2*time.Second))
		w.do(arm("a", time.Second))
		w.do(arm("same", 2*time.Second)) // set after b
		w.do(arm("never", time.Second))
		w.do(disarm("never"))
		w.do(disarm("unknown"))
		w.do(arm("late", time.Second))
		time.Sleep(time.Second / 2)
		w.do(arm("late", 2*time.Second)) // starts again
		w.ticked()
		time.Sleep(time.Second / 2)
		w.ticked("a")
		time.Sleep(time.Second)
		w.ticked("a", "b", "same")
		time.Sleep(time.Hour)
		w.ticked("a", "b", "same", "late")
	})
}

// A timer that fires while a decision about its key is on its way to the log
// waits for it, and does not count if that decision set it anew or canceled it.
func TestTimerThatFiredIsStillUndone(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		g := make(gate)
		w.do(arm("x", time.Second))
		w.log.Before = func(ctx context.Context, _ int32, _ record.Batch) error { return g.wait(ctx) }
		w.submit(add("x", 1)) // holds the key
		synctest.Wait()
		w.submit(arm("x", time.Second)) // parked
		time.Sleep(time.Second)         // the timer fires, and is parked behind
		g <- nil
		w.ticked()
		time.Sleep(time.Second)
		w.ticked("x")

		w.do(arm("y", time.Second))
		w.submit(add("y", 1))
		synctest.Wait()
		w.submit(disarm("y"))
		time.Sleep(time.Second)
		g <- nil
		w.ticked("x")
	})
}

// Soft state ends with the election: what has to happen for the state that was loaded is up to its timers.
func TestTimersOfALoadedStateRun(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.do(arm("before", time.Second))
		w.loaded = []timer{tick("loaded", 2*time.Second)}
		w.reelect(2)
		time.Sleep(time.Second)
		w.ticked()
		time.Sleep(time.Second)
		w.ticked("loaded")
	})
}

// A heartbeat that waited for its turn while the shard was busy still counts.
func TestWhatWasSubmittedBeforeADeadlineGoesFirst(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		w.do(arm("x", time.Second))
		w.submit(op{Key: "slow", Decide: func(*counters, time.Time, *coordinator.Waiter) decision {
			time.Sleep(3 * time.Second)
			return decision{}
		}})
		synctest.Wait()
		w.submit(arm("x", time.Second))
		time.Sleep(3 * time.Second)
		w.ticked()
		time.Sleep(time.Second)
		w.ticked("x")
	})
}
