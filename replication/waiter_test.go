package replication

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWaiterCollectsWhatHappened(t *testing.T) {
	w := newWaiter()
	watches := []watch{{waiter: w, index: 0}, {waiter: w, index: 1}}
	var a, b watchers
	a.wake() // no watch is registered
	a.add(&watches[0])
	b.add(&watches[1])
	b.wake()
	b.wake()
	a.wake()
	<-w.c
	if got := w.take(watches); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("ready: %v", got)
	}
	b.wake()
	<-w.c
	if got := w.take(watches); !slices.Equal(got, []int{1}) {
		t.Errorf("ready after that: %v", got)
	}
	a.remove(&watches[0])
	a.remove(&watches[0])
	b.remove(&watches[1])
	a.wake()
	b.wake()
	select {
	case <-w.c:
		t.Error("a removed watch was signaled")
	default:
	}
	if a.n.Load() != 0 || b.n.Load() != 0 {
		t.Errorf("%d and %d watches are counted", a.n.Load(), b.n.Load())
	}
}

// R9: a watcher that registers before it looks never misses a change that is made before wake.
func TestNoWakeUpIsLost(t *testing.T) {
	const rounds = 3000
	var list watchers
	var state atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for seen := int64(0); seen < rounds; {
				w := newWaiter()
				watches := []watch{{waiter: w}}
				list.add(&watches[0])
				for state.Load() == seen {
					select {
					case <-w.c:
						w.take(watches)
					case <-time.After(time.Minute):
						t.Errorf("asleep at %d, state is %d", seen, state.Load())
						list.remove(&watches[0])
						return
					}
				}
				seen = state.Load()
				list.remove(&watches[0])
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			state.Add(1)
			list.wake()
		}
	})
	wg.Wait()
}
