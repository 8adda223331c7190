package storage

import (
	"github.com/varvelog/varve/invariants"
)

// byteBudget hands out a number of bytes. Those who find too few wait in their order,
// so that a large request is not overtaken for ever by small ones.
type byteBudget struct {
	mu      invariants.Mutex[rankBudget]
	free    int64
	waiting []budgetRequest
}

type budgetRequest struct {
	n       int64
	granted chan struct{}
}

// acquire waits until n bytes are there. More than the budget has would wait for ever.
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

// release gives n bytes back.
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

// left is how many bytes are there.
func (b *byteBudget) left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}
