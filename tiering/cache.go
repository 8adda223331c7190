package tiering

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
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
		flights map[K]*flight[V]
	}
}

// flight is one read under way.
type flight[V any] struct {
	done  chan struct{} // closed by the worker that ran the read, after value and err are set
	value V
	err   error

	// Under the cache's lock.
	waiters int
	ahead   bool // wanted although nobody waits
	started bool
}

func newCache[K comparable, V any](name string, f *fetcher, limit int64, cost func(V) int64, m *metrics) *cache[K, V] {
	c := &cache[K, V]{fetcher: f, limit: limit, cost: cost}
	c.metrics.hits = m.cacheHits.WithLabelValues(name)
	c.metrics.misses = m.cacheMisses.WithLabelValues(name)
	c.metrics.bytes = m.cacheBytes.WithLabelValues(name)
	// The bytes are the bound, not the number.
	lru, err := simplelru.NewLRU[K, V](math.MaxInt32, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	c.mu.lru = lru
	c.mu.flights = map[K]*flight[V]{}
	return c
}

// get returns the value, reading it if need be. When ctx ends the caller leaves;
// the read goes on for the others and for the cache.
func (c *cache[K, V]) get(ctx context.Context, key K, read func(context.Context) (V, error)) (V, error) {
	var none V
	c.mu.Lock()
	if v, ok := c.mu.lru.Get(key); ok {
		c.mu.Unlock()
		c.metrics.hits.Inc()
		return v, nil
	}
	f, flying := c.mu.flights[key]
	if !flying {
		f = &flight[V]{done: make(chan struct{})}
		c.mu.flights[key] = f
	}
	f.waiters++
	// A read that was queued ahead of time moves up when somebody waits.
	submit := !flying || (f.waiters == 1 && !f.started)
	c.mu.Unlock()
	c.metrics.misses.Inc()

	if submit {
		if err := c.fetcher.submit(inSpanOf(ctx, func(ctx context.Context) { c.run(ctx, key, f, read) }), true); err != nil {
			c.leave(key, f, err)
			return none, err
		}
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		c.leave(key, f, nil)
		return none, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case <-c.fetcher.stopped:
		return none, fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
}

// ahead reads the value for later; it never waits. It tells whether a read was queued.
func (c *cache[K, V]) ahead(key K, read func(context.Context) (V, error)) bool {
	c.mu.Lock()
	_, flying := c.mu.flights[key]
	if flying || c.mu.lru.Contains(key) {
		c.mu.Unlock()
		return false
	}
	f := &flight[V]{done: make(chan struct{}), ahead: true}
	c.mu.flights[key] = f
	c.mu.Unlock()
	err := c.fetcher.submit(func(ctx context.Context) { c.run(ctx, key, f, read) }, false)
	if err != nil {
		c.mu.Lock()
		f.ahead = false
		c.mu.Unlock()
		c.leave(key, f, err)
	}
	return err == nil
}

// peek returns the value only if it is there.
func (c *cache[K, V]) peek(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.lru.Peek(key)
}

// leave says that one waiter is gone. With an error the read could not be
// queued: it ends here for all who have joined it meanwhile.
func (c *cache[K, V]) leave(key K, f *flight[V], err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	if err != nil && !f.started && !f.ahead {
		f.started = true
		f.err = err
		delete(c.mu.flights, key)
		close(f.done)
	}
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
	if err == nil {
		c.addLocked(key, value)
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
