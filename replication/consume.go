package replication

import (
	"context"
	"sync"
)

// consume has so many goroutines take from a queue until ctx ends, and returns when they have
// ended. What is queued then stays undone.
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
