package coordinator

import (
	"container/heap"
	"time"
)

// TimerKey names a timer: there is one of each key at a time.
type TimerKey struct {
	Kind, Scope, ID string
}

// Timer is an operation to be done later.
type Timer[M any] struct {
	Key   TimerKey
	After time.Duration
	Op    Op[M]
}

type timerChange[M any] struct {
	Timer[M]
	cancel bool
}

// armed is a timer that runs, or that has fired and whose operation has not been
// decided yet. Setting or cancelling its key puts an end to either.
type armed[M any] struct {
	Timer[M]
	deadline time.Time
	seq      uint64 // keeps timers of one deadline in the order they were set
	index    int    // in the heap; -1 once fired
}

// timers is owned by the shard's goroutine.
type timers[M any] struct {
	byKey map[TimerKey]*armed[M]
	heap  timerHeap[M]
	seq   uint64
}

func newTimers[M any]() timers[M] { return timers[M]{byKey: map[TimerKey]*armed[M]{}} }

func (t *timers[M]) set(timer Timer[M], now time.Time) {
	t.cancel(timer.Key)
	t.seq++
	a := &armed[M]{Timer: timer, deadline: now.Add(timer.After), seq: t.seq}
	t.byKey[timer.Key] = a
	heap.Push(&t.heap, a)
}

func (t *timers[M]) cancel(key TimerKey) {
	a, ok := t.byKey[key]
	if !ok {
		return
	}
	delete(t.byKey, key)
	if a.index >= 0 {
		heap.Remove(&t.heap, a.index)
	}
}

// due removes and returns the first timer whose time has come.
func (t *timers[M]) due(now time.Time) (*armed[M], bool) {
	if len(t.heap) == 0 || t.heap[0].deadline.After(now) {
		return nil, false
	}
	return heap.Pop(&t.heap).(*armed[M]), true
}

// claim says whether a fired timer still stands, and ends it.
func (t *timers[M]) claim(a *armed[M]) bool {
	if t.byKey[a.Key] != a {
		return false
	}
	delete(t.byKey, a.Key)
	return true
}

func (t *timers[M]) running(key TimerKey) bool {
	_, ok := t.byKey[key]
	return ok
}

// next is how long until the first timer is due.
func (t *timers[M]) next(now time.Time) (time.Duration, bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return max(0, t.heap[0].deadline.Sub(now)), true
}

type timerHeap[M any] []*armed[M]

func (h *timerHeap[M]) Len() int { return len(*h) }

func (h *timerHeap[M]) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if a.deadline.Equal(b.deadline) {
		return a.seq < b.seq
	}
	return a.deadline.Before(b.deadline)
}

func (h *timerHeap[M]) Swap(i, j int) {
	list := *h
	list[i], list[j] = list[j], list[i]
	list[i].index, list[j].index = i, j
}

// Push is for container/heap.
func (h *timerHeap[M]) Push(x any) {
	a := x.(*armed[M])
	a.index = len(*h)
	*h = append(*h, a)
}

// Pop is for container/heap.
func (h *timerHeap[M]) Pop() any {
	old := *h
	n := len(old) - 1
	a := old[n]
	old[n] = nil
	a.index = -1
	*h = old[:n]
	return a
}
