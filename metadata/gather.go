package metadata

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// maxArrivals bounds the batches of a watch that wait to be applied.
const maxArrivals = 256

// arrival is one result of a watch.
type arrival struct {
	batch kv.Batch
	err   error
}

// gathered watches all keys from a revision on. A goroutine reads ahead while the caller applies a
// batch. All batches that it has read by then are yielded as one, so that the cost of changes does
// not depend on the number of their revisions. The goroutine ends before the iteration does.
func gathered(ctx context.Context, store kv.Store, from int64) iter.Seq2[kv.Batch, error] {
	if stepped.By(ctx) != nil { // a coroutine has no goroutine that reads ahead
		return store.Watch(ctx, "", from)
	}
	return func(yield func(kv.Batch, error) bool) {
		reading, cancel := context.WithCancel(ctx)
		arrivals := make(chan arrival, maxArrivals)
		var reader sync.WaitGroup
		defer reader.Wait()
		defer cancel()
		reader.Go(func() {
			defer close(arrivals)
			for batch, err := range store.Watch(reading, "", from) {
				select {
				case arrivals <- arrival{batch, err}:
				case <-reading.Done():
					return
				}
			}
		})
		for first := range arrivals {
			batch, err := gather(first, arrivals)
			if first.err == nil && !yield(batch, nil) {
				return
			}
			if err != nil {
				yield(kv.Batch{}, err)
				return
			}
		}
	}
}

// gather joins a batch and those that have arrived since, up to the error that ends the watch.
func gather(first arrival, more <-chan arrival) (kv.Batch, error) {
	all, err := first.batch, first.err
	all.Events = slices.Clip(all.Events) // append must not write to the store's array
	for n := len(more); n > 0 && err == nil; n-- {
		var next arrival
		if next = <-more; next.err == nil {
			all.Revision = next.batch.Revision
			all.Events = append(all.Events, next.batch.Events...)
		}
		err = next.err
	}
	return all, err
}
