package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

const (
	// coldPending bounds the reads that wait for the bucket on behalf of fetches. How many of them
	// the bucket serves at a time is up to the tier, which has the one queue for them.
	coldPending = 1024
	// coldMemory bounds the bytes that the results of such reads hold, from the start of the read
	// until the response has been written.
	coldMemory = 128 << 20
)

// errColdLate says that a read had no result in its time. Another read may continue where it was.
var errColdLate = errors.New("the bucket takes too long")

// coldReads runs reads from the bucket for fetches that do not wait until the reads end. A read
// that its fetch has given up continues: it warms the cache, and the client's next fetch, for the
// same offset, takes it over. No read takes longer than maxWait.
type coldReads struct {
	metrics *metrics
	maxWait time.Duration
	queue   chan *coldRead

	mu struct {
		sync.Mutex
		orphans map[coldKey]*coldRead
		pending int
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

	client   string // id of the client whose fetch started the read
	maxBytes int    // from that fetch
	upTo     int64  // exclusive offset limit, from that fetch

	// Guarded by coldReads.mu.
	watch   *watch // nil: an orphan
	most    int    // bytes that the watching fetch may have
	limit   int64  // exclusive offset limit for its batches
	charged int    // of coldReads.mu.memory
	done    bool
	remoteRecords
	err error
}

func newColdReads(m *metrics, maxWait time.Duration) *coldReads {
	c := &coldReads{metrics: m, maxWait: maxWait, queue: make(chan *coldRead, coldPending)}
	c.mu.orphans = map[coldKey]*coldRead{}
	return c
}

// cached reads from the tier's memory, at once: nothing is queued and no other goroutine runs the
// read. It returns false if the bucket would have to be read, or if the memory for results is full.
func (c *coldReads) cached(ctx context.Context, key coldKey, maxBytes int, upTo int64) (Records, []storage.AbortedTxn, bool) {
	r := &coldRead{coldKey: key}
	if !c.charge(r, maxBytes) {
		return Records{}, nil, false
	}
	records, err := key.partition.readRemote(tiering.ReadBy(ctx, tiering.Reader{Cached: true}), key.offset, maxBytes, upTo, key.committed)
	if err != nil {
		c.discharge(r)
		return Records{}, nil, false // a read that may wait reports the error
	}
	c.metrics.coldReads.WithLabelValues("cached").Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chargeLocked(r, records.held)
	return Records{parts: records.batches, release: func() { c.discharge(r) }}, records.aborted, true
}

// start begins a read, or takes over an orphan; w is signaled when the read is done. It returns nil
// if too many reads are in progress or the memory for results is full: a later fetch tries again.
func (c *coldReads) start(client string, key coldKey, maxBytes int, upTo int64, w *watch) (r *coldRead, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r = c.mu.orphans[key]; r != nil {
		delete(c.mu.orphans, key)
		r.watch, r.most, r.limit = w, maxBytes, upTo
		return r, false
	}
	r = &coldRead{coldKey: key, client: client, maxBytes: maxBytes, upTo: upTo, watch: w, most: maxBytes, limit: upTo}
	if c.mu.pending >= coldPending || !c.roomLocked(maxBytes) {
		c.metrics.coldReads.WithLabelValues("refused").Inc()
		return nil, false
	}
	c.mu.pending++
	c.queue <- r // never blocks: it has room for coldPending reads
	c.chargeLocked(r, maxBytes)
	c.metrics.coldPending.Inc()
	return r, true
}

// result returns the outcome of a read whose watch was signaled, or errColdLate.
func (c *coldReads) result(r *coldRead) (Records, []storage.AbortedTxn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.err != nil {
		return Records{}, nil, r.err
	}
	return Records{parts: r.wantedLocked(), release: func() { c.discharge(r) }}, r.aborted, nil
}

// wantedLocked returns the batches that the watching fetch may have. It may have taken the read
// over from a fetch with a larger byte limit or a higher offset limit.
func (r *coldRead) wantedLocked() [][]byte {
	if r.most >= r.maxBytes && r.limit >= r.upTo {
		return r.batches
	}
	total := 0
	var out [][]byte
	for _, part := range r.batches {
		n := 0
		for rest := part; len(rest) > 0; {
			b, after, err := record.Split(rest)
			if err != nil || b.NextOffset() > r.limit || total > 0 && total+len(b) > r.most {
				return appendPart(out, part[:n:n])
			}
			n += len(b)
			total += len(b)
			rest = after
		}
		out = append(out, part)
	}
	return out
}

func appendPart(parts [][]byte, part []byte) [][]byte {
	if len(part) == 0 {
		return parts
	}
	return append(parts, part)
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

// run executes the reads until ctx ends. Each read has its own goroutine, so none delays another:
// neither a read of a partition whose tier is slow to attach, nor a read of an object that does not
// arrive. Reads that are queued when ctx ends are not done.
func (c *coldReads) run(ctx context.Context) {
	var reads sync.WaitGroup
	defer reads.Wait()
	for {
		r, ok := stepped.Receive(ctx, -1, c.queue)
		if !ok {
			return
		}
		stepped.Go(ctx, &reads, func(ctx context.Context) { c.read(ctx, r) })
	}
}

func (c *coldReads) read(ctx context.Context, r *coldRead) {
	timed, cancel := context.WithTimeout(ctx, c.maxWait)
	defer cancel()
	by := tiering.ReadBy(timed, tiering.Reader{Client: r.client})
	records, err := r.partition.readRemote(by, r.offset, r.maxBytes, r.upTo, r.committed)
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = errColdLate
	}
	c.finish(r, records, err)
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
	c.mu.pending--
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

// charge charges a read that has not begun; it returns false if there is no room.
func (c *coldReads) charge(r *coldRead, bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.roomLocked(bytes) {
		return false
	}
	c.chargeLocked(r, bytes)
	return true
}

// roomLocked reports whether that many more bytes may be held. A single result always has room.
func (c *coldReads) roomLocked(bytes int) bool {
	return c.mu.memory == 0 || c.mu.memory+bytes <= coldMemory
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
