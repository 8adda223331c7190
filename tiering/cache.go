package tiering

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/stepped"
)

const (
	// maxFound and foundFor bound for how many keys, and for how long, a cache remembers that
	// their values are missing or damaged: readers that ask again at once cost no requests.
	maxFound = 1024
	foundFor = 10 * time.Second
)

// cache holds what was read from the object store, up to a number of bytes, and
// reads each thing once however many ask for it at the same time. Values are
// immutable and shared; a value that was evicted lives on for those who have it.
type cache[K comparable, V any] struct {
	fetcher *fetcher
	limit   int64
	cost    func(V) int64
	metrics struct {
		hits, misses prometheus.Counter
		bytes        prometheus.Gauge
	}

	mu struct {
		sync.Mutex
		lru     *simplelru.LRU[K, V]
		bytes   int64
		damaged *simplelru.LRU[K, found]
		flights map[K]*flight[V]
	}
}

// found is damage that a read has found, and until when it is believed.
type found struct {
	err   error
	until time.Time
}

// flight is one read under way.
type flight[V any] struct {
	done  chan struct{} // closed by the worker that ran the read, after value and err are set
	value V
	err   error

	// Under the cache's lock.
	waiters int
	queued  int  // how often it is in a queue
	wanted  bool // it is in the queue of those that a reader waits for
	ahead   bool // wanted although nobody waits
	started bool
}

func newCache[K comparable, V any](name string, f *fetcher, limit int64, cost func(V) int64, m *metrics) *cache[K, V] {
	c := &cache[K, V]{fetcher: f, limit: limit, cost: cost}
	c.metrics.hits = m.cacheHits.WithLabelValues(name)
	c.metrics.misses = m.cacheMisses.WithLabelValues(name)
	c.metrics.bytes = m.cacheBytes.WithLabelValues(name)
	// The bytes are the bound, not the number.
	c.mu.lru = newLRU[K, V](math.MaxInt32)
	c.mu.damaged = newLRU[K, found](maxFound)
	c.mu.flights = map[K]*flight[V]{}
	return c
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return lru
}

// get returns the value for a reader, reading it if need be. When ctx ends the caller
// leaves; the read goes on for the others and for the cache.
func (c *cache[K, V]) get(ctx context.Context, key K, read func(context.Context) (V, error)) (V, error) {
	return c.getBy(ctx, c.fetcher, key, read)
}

// getBy is get with a fetcher that may be another one: that of work which no reader waits
// for.
func (c *cache[K, V]) getBy(ctx context.Context, by *fetcher, key K, read func(context.Context) (V, error)) (V, error) {
	var none V
	c.mu.Lock()
	if v, ok := c.mu.lru.Get(key); ok {
		c.mu.Unlock()
		c.metrics.hits.Inc()
		return v, nil
	}
	if err := c.damagedLocked(key); err != nil {
		c.mu.Unlock()
		return none, err
	}
	f, flying := c.mu.flights[key]
	if !flying {
		f = &flight[V]{done: make(chan struct{})}
		c.mu.flights[key] = f
	}
	f.waiters++
	// A read that was queued for later moves up when a reader waits.
	wanted := by == c.fetcher
	submit := !flying || wanted && !f.wanted && !f.started
	if submit {
		f.queued++
		f.wanted = f.wanted || wanted
	}
	c.mu.Unlock()
	c.metrics.misses.Inc()

	if submit {
		if err := by.submit(inSpanOf(ctx, func(ctx context.Context) { c.run(ctx, key, f, read) }), true); err != nil {
			c.refused(key, f, wanted, err)
			return none, err
		}
	}
	if !stepped.Done(ctx, -1, f.done, by.stopped) {
		c.leave(f)
		return none, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case <-f.done:
		return f.value, f.err
	default:
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
}

// ahead reads the value for later; it never waits. It returns true if a read was queued.
func (c *cache[K, V]) ahead(key K, read func(context.Context) (V, error)) bool {
	c.mu.Lock()
	_, flying := c.mu.flights[key]
	if flying || c.mu.lru.Contains(key) || c.damagedLocked(key) != nil {
		c.mu.Unlock()
		return false
	}
	f := &flight[V]{done: make(chan struct{}), ahead: true, waiters: 1, queued: 1}
	c.mu.flights[key] = f
	c.mu.Unlock()
	err := c.fetcher.submit(func(ctx context.Context) { c.run(ctx, key, f, read) }, false)
	if err != nil {
		c.mu.Lock()
		f.ahead = false
		c.mu.Unlock()
		c.refused(key, f, false, err)
		return false
	}
	c.leave(f)
	return true
}

// peek returns the value only if it is there.
func (c *cache[K, V]) peek(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.lru.Peek(key)
}

// put has the cache hold a value that did not come from a read.
func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.lru.Contains(key) {
		c.addLocked(key, value)
	}
}

// leave says that one waiter is gone.
func (c *cache[K, V]) leave(f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
}

// refused says that a waiter is gone, because the read could not be queued. Unless it is
// queued elsewhere it ends here, for all who have joined it.
func (c *cache[K, V]) refused(key K, f *flight[V], wanted bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	f.queued--
	f.wanted = f.wanted && !wanted
	if f.queued == 0 && !f.started {
		f.started = true
		f.err = err
		delete(c.mu.flights, key)
		close(f.done)
	}
}

// damagedLocked is the damage that a read of the value has found some seconds ago, nil if
// there is none.
func (c *cache[K, V]) damagedLocked(key K) error {
	d, ok := c.mu.damaged.Peek(key)
	if !ok {
		return nil
	}
	if time.Now().After(d.until) {
		c.mu.damaged.Remove(key)
		return nil
	}
	return d.err
}

// run is a flight's read, in a worker of the fetcher.
func (c *cache[K, V]) run(ctx context.Context, key K, f *flight[V], read func(context.Context) (V, error)) {
	c.mu.Lock()
	if f.started {
		c.mu.Unlock()
		return
	}
	f.started = true
	if f.waiters <= 0 && !f.ahead {
		// All who wanted it have left before its turn came.
		f.err = fmt.Errorf("%w: abandoned", ErrUnavailable)
		delete(c.mu.flights, key)
		close(f.done)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()

	value, err := read(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.flights, key)
	f.value, f.err = value, err
	switch {
	case err == nil:
		c.addLocked(key, value)
	case errors.Is(err, ErrCorrupt):
		c.mu.damaged.Add(key, found{err, time.Now().Add(foundFor)})
	}
	close(f.done)
}

func (c *cache[K, V]) addLocked(key K, value V) {
	c.mu.lru.Add(key, value)
	c.mu.bytes += c.cost(value)
	// One value stays however large it is: else every read of it would be a
	// request, again and again.
	for c.mu.bytes > c.limit && c.mu.lru.Len() > 1 {
		if _, old, ok := c.mu.lru.RemoveOldest(); ok {
			c.mu.bytes -= c.cost(old)
		}
	}
	c.metrics.bytes.Set(float64(c.mu.bytes))
}
