package storage

import (
	"github.com/varvelog/varve/invariants"
)

// byteBudget hands out a limited number of bytes. Requests that have to wait are served in order,
// so that small ones never starve a large one.
type byteBudget struct {
	mu      invariants.Mutex[rankBudget]
	free    int64
	waiting []budgetRequest
}

// budgetRequest is a request that waits; granted is closed when it has its n bytes.
type budgetRequest struct {
	n       int64
	granted chan struct{}
}

// acquire waits until n bytes are free. A request for more than the whole budget waits forever.
func (b *byteBudget) acquire(n int64) {
	b.mu.Lock()
	if len(b.waiting) == 0 && b.free >= n {
		b.free -= n
		b.mu.Unlock()
		return
	}
	r := budgetRequest{n, make(chan struct{})}
	b.waiting = append(b.waiting, r)
	b.mu.Unlock()
	<-r.granted
}

// release returns n bytes to the budget.
func (b *byteBudget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	for len(b.waiting) > 0 && b.free >= b.waiting[0].n {
		b.free -= b.waiting[0].n
		close(b.waiting[0].granted)
		b.waiting = b.waiting[1:]
	}
}

// left returns the number of free bytes.
func (b *byteBudget) left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
