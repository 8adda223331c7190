package replication

import (
	"sync"
	"sync/atomic"
)

// waiter is one request that waits for any of several things. Each thing has a watch. The waiter
// collects the indexes of signaled watches, so the request looks only at those.
type waiter struct {
	c  chan struct{} // one token: something is ready
	mu struct {
		sync.Mutex
		ready []int // indexes of signaled watches
	}
}

func newWaiter() *waiter { return &waiter{c: make(chan struct{}, 1)} }

// watch is a waiter's entry in one list of watchers, or the only watch of a cold read.
type watch struct {
	waiter     *waiter
	index      int  // the waiter's number for it
	signaled   bool // guarded by waiter.mu
	prev, next *watch
}

// signal marks the watch and wakes its waiter. Several signals between two calls of take count as
// one.
func (w *watch) signal() {
	w.waiter.mu.Lock()
	if !w.signaled {
		w.signaled = true
		w.waiter.mu.ready = append(w.waiter.mu.ready, w.index)
	}
	w.waiter.mu.Unlock()
	select {
	case w.waiter.c <- struct{}{}:
	default:
	}
}

// take returns the indexes of the watches that were signaled since the last call. watches must hold
// all watches of the waiter, by index.
func (w *waiter) take(watches []watch) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	ready := w.mu.ready
	w.mu.ready = nil
	for _, i := range ready {
		watches[i].signaled = false
	}
	return ready
}

// watchers is the list of watches of one partition. A watch misses nothing if it is registered
// before its owner looks at the partition's state. The state and the count are both atomic, so
// either the owner sees the new state or wake sees the watch.
type watchers struct {
	n    atomic.Int32
	mu   sync.Mutex
	head watch // of a ring
}

func (l *watchers) add(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head.next == nil {
		l.head.next, l.head.prev = &l.head, &l.head
	}
	w.prev, w.next = l.head.prev, &l.head
	w.prev.next, w.next.prev = w, w
	l.n.Add(1)
}

// remove removes a watch; a watch that is not in the list is ignored.
func (l *watchers) remove(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.next == nil {
		return
	}
	w.prev.next, w.next.prev = w.next, w.prev
	w.prev, w.next = nil, nil
	l.n.Add(-1)
}

// wake signals all watches. Without watches it costs one atomic load.
func (l *watchers) wake() {
	if l.n.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := l.head.next; w != &l.head; w = w.next {
		w.signal()
	}
}
