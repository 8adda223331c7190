package tiering

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/stepped"
)

// maxFetchQueue bounds the reads that wait for a slot. Beyond it readers are
// told to come again, which costs less than an answer that comes too late.
const maxFetchQueue = 1024

// fetcher runs reads of the object store, a bounded number at a time and apart
// from uploads. There is one for readers, and one for the work that no reader waits
// for, so that neither waits for the other. Its workers, not the readers, run them: a reader that goes away
// leaves a read that others may wait for, and every goroutine has an owner.
type fetcher struct {
	timeout time.Duration
	length  prometheus.Gauge
	wake    chan struct{} // capacity 1
	stopped chan struct{} // closed by run when the last worker has ended

	mu struct {
		sync.Mutex
		wanted []func(context.Context) // somebody waits
		ahead  []func(context.Context) // nobody waits yet
	}
}

func newFetcher(timeout time.Duration, length prometheus.Gauge) *fetcher {
	return &fetcher{timeout: timeout, length: length, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// submit queues a read. Reads that somebody waits for go before all others;
// one that nobody waits for is dropped when too many are waiting.
func (f *fetcher) submit(read func(context.Context), wanted bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := &f.mu.ahead
	if wanted {
		queue = &f.mu.wanted
	}
	if len(*queue) >= maxFetchQueue {
		return fmt.Errorf("%w: %d reads of the object store are waiting", ErrUnavailable, len(*queue))
	}
	*queue = append(*queue, read)
	f.length.Inc()
	notify(f.wake)
	return nil
}

func (f *fetcher) take() func(context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := &f.mu.wanted
	if len(*queue) == 0 {
		queue = &f.mu.ahead
	}
	if len(*queue) == 0 {
		return nil
	}
	read := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	f.length.Dec()
	if len(f.mu.wanted)+len(f.mu.ahead) > 0 {
		notify(f.wake) // for another worker
	}
	return read
}

// run works until ctx ends. What is still queued then is never run: those who
// wait for it see stopped.
func (f *fetcher) run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for range workers {
		stepped.Go(ctx, &wg, f.work)
	}
	stepped.Done(ctx, -1, nil)
	wg.Wait()
	close(f.stopped)
}

func (f *fetcher) work(ctx context.Context) {
	for ctx.Err() == nil {
		read := f.take()
		if read == nil {
			stepped.Receive(ctx, -1, f.wake)
			continue
		}
		f.do(ctx, read)
	}
}

// do gives the read its own deadline: nobody who waits for it may shorten it.
func (f *fetcher) do(ctx context.Context, read func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	read(ctx)
}
