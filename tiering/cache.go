package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/stepped"
)

const (
	// maxFound and foundFor bound for how many keys, and for how long, a cache remembers that their
	// values are missing or damaged: readers that retry at once cost no requests.
	maxFound = 1024
	foundFor = 10 * time.Second
	// smallRead is what a read of a document or an index is charged to its client, in bytes.
	smallRead = 64 << 10
)

// cache holds what was read from the object store, up to a number of bytes, and reads each value
// once, however many readers ask for it at the same time. Values are immutable and shared; an
// evicted value stays valid for the readers that have it.
type cache[K comparable, V any] struct {
	fetcher *fetcher
	ahead   int64      // bytes that may be read ahead and not be used yet
	rises   func(K, V) // called for values that are used again, with the lock held; may be nil
	metrics struct {
		hits, misses  prometheus.Counter
		bytes, unread prometheus.Gauge
	}

	mu struct {
		sync.Mutex
		shelf   *shelf[K, V]
		damaged *simplelru.LRU[K, found]
		flights map[K]*flight[V]
		coming  int64 // bytes of flights that are read ahead
	}
}

// found is damage that a read has found, with the time until which it is believed.
type found struct {
	err   error
	until time.Time
}

// run is values that one request can fetch: they are adjacent in an object.
type run[K comparable, V any] struct {
	keys  []K
	bytes func(i int) int64 // approximate size of each
	// read reads the first n of them. It returns n results, and the number of bytes that it fetched
	// from the object store.
	read func(ctx context.Context, n int) (_ []result[V], moved int64)
	// small runs are read ahead in the readers' queue: they occupy a worker only briefly, and other
	// reads depend on what they return.
	small bool
	// goesOn is true for a reader that used the first value before and has not reached its end.
	goesOn bool
}

type result[V any] struct {
	value V
	err   error
}

// flight is one value that is being read. A flight belongs to a ride, which may have several.
type flight[V any] struct {
	done chan struct{} // closed after the result is set
	result[V]

	// The cache's lock guards the following.
	ride   *ride
	wanted bool  // a reader waits for it, or has waited
	coming int64 // bytes that count as read ahead
}

// ride is the request that fetches some flights. The cache's lock guards its fields.
type ride struct {
	fetch   *fetch
	by      *fetcher
	waiters int
	ahead   bool // carried out even if no reader waits
	started bool
	// endLocked ends the ride's flights without a result.
	endLocked func(err error)
}

func newCache[K comparable, V any](name string, f *fetcher, limit int64, cost func(V) int64, m *metrics) *cache[K, V] {
	c := &cache[K, V]{fetcher: f, ahead: limit * aheadShare / 8}
	c.metrics.hits = m.cacheHits.WithLabelValues(name)
	c.metrics.misses = m.cacheMisses.WithLabelValues(name)
	c.metrics.bytes = m.cacheBytes.WithLabelValues(name)
	c.metrics.unread = m.cacheUnread.WithLabelValues(name)
	c.mu.shelf = newShelf[K](limit, cost)
	c.mu.damaged = newLRU[K, found](maxFound)
	c.mu.flights = map[K]*flight[V]{}
	return c
}

// single is a run of one small value.
func single[K comparable, V any](key K, read func(context.Context) (V, error)) run[K, V] {
	return run[K, V]{
		keys: []K{key}, small: true, bytes: func(int) int64 { return smallRead },
		read: func(ctx context.Context, _ int) ([]result[V], int64) {
			value, err := read(ctx)
			return []result[V]{{value, err}}, smallRead
		},
	}
}

// get returns the value for a reader, and reads it if necessary. When ctx ends the caller leaves;
// the read continues for the others and for the cache.
func (c *cache[K, V]) get(ctx context.Context, key K, read func(context.Context) (V, error)) (V, error) {
	return c.getBy(ctx, c.fetcher, key, read)
}

// getBy is get with a given fetcher, which may be the one for work that no reader waits for.
func (c *cache[K, V]) getBy(ctx context.Context, by *fetcher, key K, read func(context.Context) (V, error)) (V, error) {
	v, _, err := c.getRun(ctx, by, single(key, read))
	return v, err
}

// getRun is get of a run's first value. If that has to be read, the values after it that are absent
// are fetched with it, as far as they may be read ahead. waited is true if the value was not there.
func (c *cache[K, V]) getRun(ctx context.Context, by *fetcher, r run[K, V]) (_ V, waited bool, err error) {
	var none V
	c.mu.Lock()
	if v, risen, ok := c.mu.shelf.use(r.keys[0], r.goesOn); ok {
		c.roseLocked(r.keys[0], v, risen)
		c.mu.Unlock()
		c.metrics.hits.Inc()
		return v, false, nil
	}
	if err = c.damagedLocked(r.keys[0]); err != nil {
		c.mu.Unlock()
		return none, true, err
	}
	if ReaderOf(ctx).Cached {
		c.mu.Unlock()
		return none, true, ErrNotCached
	}
	f, err := c.joinLocked(ctx, by, r)
	c.mu.Unlock()
	c.metrics.misses.Inc()
	if err != nil {
		return none, true, err
	}
	if stepped.Done(ctx, -1, f.done) {
		return f.value, true, f.err
	}
	c.leave(f.ride)
	return none, true, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
}

// joinLocked returns the flight of a run's first value, with one more waiter.
func (c *cache[K, V]) joinLocked(ctx context.Context, by *fetcher, r run[K, V]) (*flight[V], error) {
	f := c.mu.flights[r.keys[0]]
	if f == nil {
		if err := c.launchLocked(ctx, by, r, true); err != nil {
			return nil, err
		}
		f = c.mu.flights[r.keys[0]]
	}
	f.wanted = true
	c.mu.coming -= f.coming
	f.coming = 0
	f.ride.waiters++
	c.hurryLocked(f.ride, by)
	return f, nil
}

// hurryLocked moves a request that was queued for read-ahead, or by work that no reader waits for,
// into the readers' queue.
func (c *cache[K, V]) hurryLocked(r *ride, by *fetcher) {
	if r.started || by != c.fetcher || r.by == by && r.fetch.wanted || !r.by.remove(r.fetch) {
		return
	}
	r.by, r.fetch.wanted = by, true
	if err := by.hurry(r.fetch); err != nil {
		r.endLocked(err)
	}
}

// launchLocked starts a read of the first value of a run, and of those after it that are absent and
// may be read ahead. wanted says that a reader waits for the first one.
func (c *cache[K, V]) launchLocked(ctx context.Context, by *fetcher, r run[K, V], wanted bool) error {
	n, bytes := c.missingLocked(r, wanted)
	keys := r.keys[:n]
	rd := &ride{by: by, ahead: !wanted}
	rd.fetch = &fetch{client: ReaderOf(ctx).Client, wanted: wanted || r.small, bytes: bytes}
	rd.fetch.do = inSpanOf(ctx, func(ctx context.Context) int64 { return c.run(ctx, keys, rd, r) })
	rd.endLocked = func(err error) { c.endLocked(keys, rd, nil, err) }
	rd.fetch.drop = func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		rd.endLocked(err)
	}
	if err := by.submit(rd.fetch); err != nil {
		return err
	}
	for i, key := range keys {
		f := &flight[V]{done: make(chan struct{}), ride: rd}
		if !wanted || i > 0 {
			f.coming = r.bytes(i)
			c.mu.coming += f.coming
		}
		c.mu.flights[key] = f
	}
	return nil
}

// missingLocked returns how many values of a run, from the first one on, are absent and may
// be read, and their bytes. If wanted, a reader waits for the first one, which is then
// always included.
func (c *cache[K, V]) missingLocked(r run[K, V], wanted bool) (n int, bytes int64) {
	room := c.roomLocked()
	for i, key := range r.keys {
		size := r.bytes(i)
		if i > 0 || !wanted {
			if !c.absentLocked(key) || size > room {
				break
			}
			room -= size
		}
		n++
		bytes += size
	}
	return n, bytes
}

// roomLocked returns how many more bytes may be read ahead.
func (c *cache[K, V]) roomLocked() int64 {
	c.mu.shelf.expire(time.Now())
	return c.ahead - c.mu.coming - c.mu.shelf.sizes[unread]
}

// absentLocked reports whether the value is neither there, nor being read, nor known to be damaged.
func (c *cache[K, V]) absentLocked(key K) bool {
	if _, _, ok := c.mu.shelf.find(key); ok {
		return false
	}
	return c.mu.flights[key] == nil && c.damagedLocked(key) == nil
}

// fetchAhead starts a read of the first values of a run for a reader that is expected; it never
// waits. It returns how many: none if the first one is there, or there is no room.
func (c *cache[K, V]) fetchAhead(ctx context.Context, r run[K, V]) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, _ := c.missingLocked(r, false)
	if n == 0 {
		return 0
	}
	r.keys = r.keys[:n]
	if c.launchLocked(ctx, c.fetcher, r, false) != nil {
		return 0
	}
	return n
}

// there returns how many values of a run, from the first one on, are there or being read.
func (c *cache[K, V]) there(keys []K) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := slices.IndexFunc(keys, c.absentLocked); n >= 0 {
		return n
	}
	return len(keys)
}

// peek returns the value if it is there, and does not count as a use.
func (c *cache[K, V]) peek(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, _, ok := c.mu.shelf.find(key)
	return k.value, ok
}

// use records that a reader uses a value that peek has returned.
func (c *cache[K, V]) use(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, risen, ok := c.mu.shelf.use(key, false); ok {
		c.roseLocked(key, v, risen)
		c.metrics.hits.Inc()
	}
}

// spend records that a reader has read the value to its end.
func (c *cache[K, V]) spend(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.shelf.spend(key)
}

func (c *cache[K, V]) roseLocked(key K, value V, risen bool) {
	if risen && c.rises != nil {
		c.rises(key, value)
	}
}

// put adds a value that did not come from a read.
func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, _, ok := c.mu.shelf.find(key); !ok {
		c.addLocked(key, value, true)
	}
}

// leave removes one waiter.
func (c *cache[K, V]) leave(r *ride) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.waiters--
}

// damagedLocked returns the damage that a recent read of the value has found, nil if there is none.
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

// run carries out the request of a ride, in a worker of the fetcher.
func (c *cache[K, V]) run(ctx context.Context, keys []K, rd *ride, r run[K, V]) (moved int64) {
	c.mu.Lock()
	rd.started = true
	if rd.waiters <= 0 && !rd.ahead {
		// All waiters have left before its turn.
		rd.endLocked(fmt.Errorf("%w: abandoned", ErrUnavailable))
		c.mu.Unlock()
		return 0
	}
	c.mu.Unlock()

	results, moved := r.read(ctx, len(keys))

	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(keys, rd, results, nil)
	return moved
}

// endLocked ends the flights of a ride: each with its result, or all with an error. If err is nil
// there is a result for each key.
func (c *cache[K, V]) endLocked(keys []K, rd *ride, results []result[V], err error) {
	rd.started = true
	for i, key := range keys {
		f := c.mu.flights[key]
		delete(c.mu.flights, key)
		c.mu.coming -= f.coming
		if f.err = err; err == nil {
			f.result = results[i]
		}
		switch {
		case f.err == nil:
			c.addLocked(key, f.value, f.wanted)
		case errors.Is(f.err, ErrCorrupt):
			c.mu.damaged.Add(key, found{f.err, time.Now().Add(foundFor)})
		}
		close(f.done)
	}
}

func (c *cache[K, V]) addLocked(key K, value V, wanted bool) {
	c.roseLocked(key, value, c.mu.shelf.add(key, value, wanted, time.Now()))
	c.metrics.bytes.Set(float64(c.mu.shelf.bytes))
	c.metrics.unread.Set(float64(c.mu.shelf.sizes[unread] + c.mu.coming))
}
