package protocol

import (
	"container/list"
	"context"
	"sync"
)

// Budget bounds the bytes of all requests in memory, over all connections. A request holds a
// [Lease] from its first byte until its response is done.
//
// A lease grows as the bytes of its request arrive, so requests could block each other halfway. One
// request at a time may therefore exceed the budget: the oldest waiting request proceeds
// regardless, finishes, and releases the bytes that the others wait for. Memory is bounded by the
// budget, plus one request, plus the first chunk of each connection.
type Budget struct {
	size int64
	mu   struct {
		sync.Mutex
		used    int64
		waiting list.List // of *waiter, oldest first
		// over is the one lease that may exceed size; nil if there is none.
		over *Lease
	}
}

type waiter struct {
	lease *Lease
	n     int64
	ready chan struct{} // closed under mu when the bytes are granted
}

// Lease is one request's share of a Budget. One goroutine at a time may use it.
type Lease struct {
	b *Budget
	n int64
}

// NewBudget returns a budget of size bytes.
func NewBudget(size int64) *Budget {
	b := &Budget{size: size}
	b.mu.waiting.Init()
	return b
}

// Size is the number of bytes that may be leased.
func (b *Budget) Size() int64 { return b.size }

// Used is the number of bytes that are leased now.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// Waiting is the number of requests that wait for bytes now.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.waiting.Len()
}

// Lease starts a share of n bytes. It never waits. Bytes that are few enough to be taken without
// waiting are counted all the same, so they make large requests wait.
func (b *Budget) Lease(n int64) *Lease {
	l := &Lease{b: b}
	l.Take(n)
	return l
}

// Take adds n bytes to the share without waiting.
func (l *Lease) Take(n int64) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.takeLocked(n)
}

// Grow adds n bytes to the share and waits until they are available. On an error nothing is added.
func (l *Lease) Grow(ctx context.Context, n int64) error {
	b := l.b
	b.mu.Lock()
	if b.mu.over == l || (b.mu.waiting.Len() == 0 && b.mu.used+n <= b.size) {
		l.takeLocked(n)
		b.mu.Unlock()
		return nil
	}
	w := &waiter{lease: l, n: n, ready: make(chan struct{})}
	e := b.mu.waiting.PushBack(w)
	b.grantLocked()
	b.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // granted in between; the next read sees that ctx has ended
		return nil
	default:
	}
	b.mu.waiting.Remove(e)
	b.grantLocked()
	return context.Cause(ctx)
}

// Release returns the whole share. A second call does nothing.
func (l *Lease) Release() {
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= l.n
	l.n = 0
	if b.mu.over == l {
		b.mu.over = nil
	}
	b.grantLocked()
}

func (l *Lease) takeLocked(n int64) {
	l.n += n
	l.b.mu.used += n
}

// grantLocked grants waiters in order while their bytes fit. The first one that does not fit may
// exceed the budget, unless another lease already does.
func (b *Budget) grantLocked() {
	for e := b.mu.waiting.Front(); e != nil; e = b.mu.waiting.Front() {
		w := e.Value.(*waiter)
		if b.mu.used+w.n > b.size {
			if b.mu.over != nil {
				return
			}
			b.mu.over = w.lease
		}
		b.mu.waiting.Remove(e)
		w.lease.takeLocked(w.n)
		close(w.ready)
	}
}
