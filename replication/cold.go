package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

const (
	// coldWorkers is how many reads from the bucket run at a time on behalf of fetches.
	coldWorkers = 10
	// coldQueue is how many more may wait for a worker.
	coldQueue = 100
	// coldMemory bounds what the results of such reads hold, from their start until the response is
	// written.
	coldMemory = 128 << 20
)

// errColdLate says that a read had no result in its time. Another one may go on where it was.
var errColdLate = errors.New("the bucket takes too long")

// coldReads runs reads from the bucket for fetches that do not wait for them to the end. A read
// that its fetch has given up on goes on: it warms the cache, and the client's next fetch, which
// asks for the same offset, takes it over. No read keeps a worker for longer than maxWait: a
// partition whose tier is slow to attach, or an object that does not come, holds up no other.
type coldReads struct {
	metrics *metrics
	maxWait time.Duration
	queue   chan *coldRead

	mu struct {
		sync.Mutex
		orphans map[coldKey]*coldRead
		memory  int
	}
}

type coldKey struct {
	partition *Partition
	offset    int64
	committed bool // with the aborted transactions
}

// coldRead is one read. Its result belongs to the fetch that watches it.
type coldRead struct {
	coldKey

	maxBytes int   // as the fetch said that has started it
	upTo     int64 // as well

	// Guarded by coldReads.mu.
	watch   *watch // nil: an orphan
	most    int    // bytes that the fetch which watches may have
	limit   int64  // the offset that its batches may reach to, exclusive
	charged int    // of coldReads.mu.memory
	done    bool
	remoteRecords
	err error
}

func newColdReads(m *metrics, maxWait time.Duration) *coldReads {
	c := &coldReads{metrics: m, maxWait: maxWait, queue: make(chan *coldRead, coldQueue)}
	c.mu.orphans = map[coldKey]*coldRead{}
	return c
}

// start begins a read, or takes over one that was given up on; w is signaled when it is done. There
// is no read when the queue or the memory for results is full: the partition gets its turn with a
// later fetch.
func (c *coldReads) start(key coldKey, maxBytes int, upTo int64, w *watch) (r *coldRead, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r = c.mu.orphans[key]; r != nil {
		delete(c.mu.orphans, key)
		r.watch, r.most, r.limit = w, maxBytes, upTo
		return r, false
	}
	if c.mu.memory > 0 && c.mu.memory+maxBytes > coldMemory {
		c.metrics.coldReads.WithLabelValues("refused").Inc()
		return nil, false
	}
	r = &coldRead{coldKey: key, maxBytes: maxBytes, upTo: upTo, watch: w, most: maxBytes, limit: upTo}
	select {
	case c.queue <- r:
		c.chargeLocked(r, maxBytes)
		c.metrics.coldPending.Inc()
		return r, true
	default:
		c.metrics.coldReads.WithLabelValues("refused").Inc()
		return nil, false
	}
}

// result is the outcome of a read whose watch has been signaled, or errColdLate.
func (c *coldReads) result(r *coldRead) (Records, []storage.AbortedTxn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.err != nil {
		return Records{}, nil, r.err
	}
	return Records{bytes: r.wantedLocked(), release: func() { c.discharge(r) }}, r.aborted, nil
}

// wantedLocked are the batches that the fetch which watches may have: it may have taken the read
// over from one that asked for more, or may see more.
func (r *coldRead) wantedLocked() []byte {
	if r.most >= r.maxBytes && r.limit >= r.upTo {
		return r.batches
	}
	n := 0
	for rest := r.batches; ; {
		b, after, err := record.Split(rest)
		if err != nil || b.NextOffset() > r.limit || n > 0 && n+len(b) > r.most {
			return r.batches[:n:n]
		}
		n += len(b)
		rest = after
	}
}

// abandon ends a fetch's interest in a read whose result it has not taken.
func (c *coldReads) abandon(r *coldRead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.watch = nil
	if r.done {
		c.chargeLocked(r, 0)
		return
	}
	c.mu.orphans[r.coldKey] = r
}

// run reads until ctx ends. Reads that are queued then stay undone.
func (c *coldReads) run(ctx context.Context) {
	consume(ctx, coldWorkers, c.queue, func(ctx context.Context, r *coldRead) {
		timed, cancel := context.WithTimeout(ctx, c.maxWait)
		defer cancel()
		records, err := r.partition.readRemote(timed, r.offset, r.maxBytes, r.upTo, r.committed)
		if err != nil && timed.Err() != nil && ctx.Err() == nil {
			err = errColdLate
		}
		c.finish(r, records, err)
	})
}

func (c *coldReads) finish(r *coldRead, records remoteRecords, err error) {
	outcome := "read"
	switch {
	case errors.Is(err, errColdLate):
		outcome = "late"
	case err != nil:
		outcome = "failed"
	}
	c.metrics.coldReads.WithLabelValues(outcome).Inc()
	c.metrics.coldPending.Dec()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.done = true
	if r.watch == nil {
		if c.mu.orphans[r.coldKey] == r {
			delete(c.mu.orphans, r.coldKey)
		}
		c.chargeLocked(r, 0)
		return
	}
	r.remoteRecords, r.err = records, err
	c.chargeLocked(r, records.held)
	r.watch.signal()
}

func (c *coldReads) discharge(r *coldRead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chargeLocked(r, 0)
}

func (c *coldReads) chargeLocked(r *coldRead, bytes int) {
	c.mu.memory += bytes - r.charged
	r.charged = bytes
	c.metrics.coldBytes.Set(float64(c.mu.memory))
}
