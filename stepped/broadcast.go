package stepped

import (
	"context"
	"sync"
)

// Broadcast makes any number of waiters check their conditions again. Its zero value has no
// waiters.
type Broadcast struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next Signal; nil if there is no waiter
}

// Signal makes all waiters check again. The caller must call it after the change that they wait
// for.
func (b *Broadcast) Signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Wait returns true once ready returns true, or false if ctx ends first. It calls ready at once and
// after each Signal. Under a runner, ready may be called at any time, as in Runner.Wait.
func (b *Broadcast) Wait(ctx context.Context, ready func() bool) bool {
	if r := By(ctx); r != nil {
		r.Wait(ctx, -1, ready)
		return ready()
	}
	for {
		// The channel is taken before ready is called: a Signal after that closes it, so no change
		// is missed.
		signal := b.signal()
		if ready() {
			return true
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return false
		}
	}
}

func (b *Broadcast) signal() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}
