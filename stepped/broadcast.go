package stepped

import (
	"context"
	"sync"
)

// Broadcast has any number of waiters look again at what each of them waits for. Its zero value has
// no waiters.
type Broadcast struct {
	mu   sync.Mutex
	next chan struct{} // closed by the next Signal; nil: nobody waits
}

// Signal has all waiters look again. It must follow the change that they wait for.
func (b *Broadcast) Signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Wait returns true as soon as ready does, and false if ctx ends first. It calls ready at once and
// after each Signal; under a runner at any time, as Runner.Wait does.
func (b *Broadcast) Wait(ctx context.Context, ready func() bool) bool {
	if r := By(ctx); r != nil {
		r.Wait(ctx, -1, ready)
		return ready()
	}
	for {
		signal := b.signal() // before ready looks: what changes after that closes it
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
