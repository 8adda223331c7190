package protocol

import (
	"container/list"
	"context"
	"sync"
)

// Budget bounds the bytes of all requests in memory, over all connections. A request holds a [Lease] from its first byte until its
// response is done.
//
// What a request holds grows as its bytes arrive, so requests can block each other half way. One request at a time may therefore exceed the
// budget: the oldest of those that wait goes on regardless, ends, and gives back what the others wait for. Memory is bounded by the
// budget, plus one request, plus the first chunk of each connection.
type Budget struct {
	size int64
	mu   struct {
		sync.Mutex
		used    int64
		waiting list.List // of *waiter, oldest first
		over    *Lease    // the one request that may exceed size
	}
}

type waiter struct {
	lease *Lease
	n     int64
	ready chan struct{} // closed by whoever grants, under mu
}

// Lease is one request's share of a Budget. It belongs to one goroutine at a time.
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

// Size is how many bytes may be leased.
func (b *Budget) Size() int64 { return b.size }

// Used is how many bytes are leased now.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// Waiting is how many requests wait for bytes now.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.waiting.Len()
}

// Lease starts a share of n bytes. It never waits: what is small enough to be taken without asking is counted all the same, so that
// it makes the large ones wait.
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

// Grow adds n bytes to the share, waiting until they are there. On an error nothing is added.
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
	case <-w.ready: // granted meanwhile; the caller learns of its ctx at the next read
		return nil
	default:
	}
	b.mu.waiting.Remove(e)
	b.grantLocked()
	return context.Cause(ctx)
}

// Release gives the whole share back. A second call does nothing.
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

// grantLocked serves waiters in order while they fit, then lets the first that does not fit go over the budget if nobody else does.
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
