package tiering

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/stepped"
)

const (
	// maxFetchQueue bounds the reads in each of the two queues: those that a reader waits for, and
	// the others. Further readers have to retry, which costs less than an answer that is too late.
	maxFetchQueue = 1024
	// maxBudgets bounds the clients whose budget is remembered.
	maxBudgets = 4096
)

// fetch is a read of the object store that waits for its turn.
type fetch struct {
	client string
	wanted bool  // a reader waits for it: it goes before those for which none waits
	bytes  int64 // that it is expected to move
	// do is called by a worker, and returns how many bytes it moved. drop is called in its place if
	// the fetcher ends before. Exactly one of the two is called, once, without any lock.
	do   func(ctx context.Context) (moved int64)
	drop func(err error)

	place *list.Element // in the queue of its client; nil: not queued
}

// fetcher runs reads of the object store, a bounded number at a time and apart from uploads. There
// is one for readers, and one for work that no reader waits for, so that neither waits for the
// other. Its workers run the reads, not the readers: a reader that leaves does not end a read that
// others may wait for, and every goroutine has an owner.
type fetcher struct {
	timeout time.Duration
	length  prometheus.Gauge
	wake    chan struct{} // capacity 1
	rate    int64         // bytes a second of each client; 0: no limit

	mu struct {
		sync.Mutex
		closed        bool
		wanted, ahead turns
		running       int // reads in progress that no reader waits for
		most          int // limit of running: some workers always remain for readers
		total         *budget
		budgets       map[string]*budget // by client; empty if rate is 0
	}
}

// newFetcher returns a fetcher whose reads move at most total bytes a second together, and
// perClient for each client; 0: no limit.
func newFetcher(timeout time.Duration, length prometheus.Gauge, total, perClient int64) *fetcher {
	f := &fetcher{timeout: timeout, length: length, wake: make(chan struct{}, 1), rate: perClient}
	f.mu.total = newBudget(total)
	f.mu.most = 1
	return f
}

// submit queues a read. It fails when too many are queued, and when the fetcher has ended: then
// neither do nor drop is called.
func (f *fetcher) submit(x *fetch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queueLocked(x)
	switch {
	case f.mu.closed:
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	case queue.length >= maxFetchQueue:
		return fmt.Errorf("%w: %d reads of the object store are waiting", ErrUnavailable, queue.length)
	}
	f.enterLocked(x)
	return nil
}

// hurry queues a read that was removed from another queue, even if the queue is full.
func (f *fetcher) hurry(x *fetch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	f.enterLocked(x)
	return nil
}

func (f *fetcher) enterLocked(x *fetch) {
	f.queueLocked(x).push(x)
	f.length.Inc()
	notify(f.wake)
}

func (f *fetcher) queueLocked(x *fetch) *turns {
	if x.wanted {
		return &f.mu.wanted
	}
	return &f.mu.ahead
}

// remove removes a read from the queue. It returns false if a worker has it, or had it.
func (f *fetcher) remove(x *fetch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.place == nil {
		return false
	}
	f.queueLocked(x).remove(x)
	f.length.Dec()
	return true
}

// take returns the next read. If there is none, it returns nil and how long a worker may sleep
// unless it is woken; negative: until it is woken.
func (f *fetcher) take(now time.Time) (x *fetch, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wait = f.mu.total.wait(now); wait > 0 {
		return nil, wait
	}
	of := func(client string) time.Duration { return f.mu.budgets[client].wait(now) }
	x, wait = f.mu.wanted.take(of)
	if x == nil && f.mu.running < f.mu.most {
		var later time.Duration
		if x, later = f.mu.ahead.take(of); x == nil && later >= 0 && (wait < 0 || later < wait) {
			wait = later
		}
	}
	if x == nil {
		return nil, wait
	}
	if !x.wanted {
		f.mu.running++
	}
	f.length.Dec()
	f.payLocked(x.client, now, x.bytes)
	if f.mu.wanted.length+f.mu.ahead.length > 0 {
		notify(f.wake) // for another worker
	}
	return x, 0
}

// payLocked charges bytes to the total and to the client; a negative number gives bytes back.
func (f *fetcher) payLocked(client string, now time.Time, bytes int64) {
	f.mu.total.take(now, bytes)
	if f.rate <= 0 {
		return
	}
	b := f.mu.budgets[client]
	if b == nil {
		f.forgetLocked(now)
		b = newBudget(f.rate)
		put(&f.mu.budgets, client, b)
	}
	b.take(now, bytes)
}

// forgetLocked drops the budgets of clients that have paid for all they took, once there
// are many budgets.
func (f *fetcher) forgetLocked(now time.Time) {
	if len(f.mu.budgets) < maxBudgets {
		return
	}
	for name, b := range f.mu.budgets { // any order
		if b.wait(now) == 0 {
			delete(f.mu.budgets, name)
		}
	}
}

// run works until ctx ends, and then drops what is queued.
func (f *fetcher) run(ctx context.Context, workers int) {
	f.mu.Lock()
	// A fifth of the workers, at least one, is kept for readers. One may read ahead in any case.
	f.mu.most = max(1, workers-max(1, workers/5))
	f.mu.Unlock()
	var wg sync.WaitGroup
	for range workers {
		stepped.Go(ctx, &wg, f.work)
	}
	stepped.Done(ctx, -1, nil)
	wg.Wait()
	f.close()
}

func (f *fetcher) close() {
	f.mu.Lock()
	f.mu.closed = true
	var left []*fetch
	for _, queue := range []*turns{&f.mu.wanted, &f.mu.ahead} {
		for queue.length > 0 {
			x := queue.ring.Front().Value.(*client).fetches.Front().Value.(*fetch)
			queue.remove(x)
			f.length.Dec()
			left = append(left, x)
		}
	}
	f.mu.Unlock()
	for _, x := range left {
		x.drop(fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed))
	}
}

func (f *fetcher) work(ctx context.Context) {
	for ctx.Err() == nil {
		x, wait := f.take(time.Now())
		if x == nil {
			stepped.Receive(ctx, wait, f.wake)
			continue
		}
		f.do(ctx, x)
	}
}

// do gives the read a deadline of its own, which no waiter can shorten.
func (f *fetcher) do(ctx context.Context, x *fetch) {
	timed, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	ahead := !x.wanted
	moved := x.do(timed)
	f.mu.Lock()
	defer f.mu.Unlock()
	if ahead {
		f.mu.running--
	}
	if spared := x.bytes - moved; spared != 0 {
		f.payLocked(x.client, time.Now(), -spared)
	}
}
