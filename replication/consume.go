package replication

import (
	"context"
	"sync"
)

// consume runs workers goroutines that take from a queue until ctx ends, and returns after they
// have ended. Items still in the queue are not done.
func consume[T any](ctx context.Context, workers int, queue <-chan T, do func(context.Context, T)) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case work := <-queue:
					do(ctx, work)
				}
			}
		})
	}
	wg.Wait()
}
