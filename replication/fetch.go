package replication

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
)

const (
	// maxColdReads is how many reads from the bucket one fetch has under way. The other cold
	// partitions get their turn later.
	maxColdReads = 64
	// coldGrace is how long a fetch that could be answered waits for reads from the bucket that it
	// has just started: long enough for the cache's memory and disk, and no delay that a client of
	// the hot partitions notices.
	coldGrace = 10 * time.Millisecond
)

// FetchParams are what holds for a fetch as a whole.
type FetchParams struct {
	MaxWait            time.Duration
	MinBytes, MaxBytes int
	Isolation          Isolation
	Replica            *metadata.Member // the follower that asks, nil for consumers
	FromFollower       bool             // see ReadRequest
	Client             string           // client id: the bucket's bandwidth is shared among those
	Hurry              <-chan struct{}  // a token ends the wait; may be nil
}

// FetchPartition asks for one partition.
type FetchPartition struct {
	Partition          *Partition // nil: takes no part, its result stays as it is
	Offset             int64
	MaxBytes           int
	CurrentLeaderEpoch int32 // that the client knows, -1 for none
	LastFetchedEpoch   int32 // of the client's last record, -1 for none
	// HighWatermark is what a follower was told of, -1 for nothing: it does not wait when it can be
	// told of a higher one.
	HighWatermark int64
	LogStart      int64                // of a follower's log
	Directory     metadata.DirectoryID // where a follower has its log; zero: it does not say
}

// FetchResult is the answer for one partition. Its Records must be released, also beside an error.
type FetchResult struct {
	ReadResult
	Err error
}

// Fetch reads several partitions, in their order as far as MaxBytes goes, and waits until there are
// MinBytes, MaxWait is over, a partition fails or diverges, or ctx ends. results, as many as there
// are partitions and in their order, receive what was found; the caller owns both slices.
//
// What the tier has in memory is read like what is on the disk. Partitions whose data is in the bucket
// are read concurrently. They hold nobody up: when the other partitions have enough, or the time is up,
// they stay empty, and the read goes on and fills the cache for the next fetch.
func (m *Manager) Fetch(ctx context.Context, params FetchParams, partitions []FetchPartition, results []FetchResult) {
	f := fetches.Get().(*delayedFetch)
	defer f.free()
	defer count(params.Replica == nil, partitions, results)
	f.cold, f.params, f.partitions, f.results, f.left = m.cold, params, partitions, results, params.MaxBytes
	for i := range partitions {
		if partitions[i].Partition != nil {
			f.asked++
			f.read(ctx, i)
		}
	}
	if f.asked == 0 || len(f.frozen) == 0 && (f.satisfied() || params.MaxWait <= 0) {
		return
	}
	m.metrics.fetchesWaiting.Inc()
	defer m.metrics.fetchesWaiting.Dec()
	f.wait(ctx, m.coldMaxWait)
}

// count tells the topics' counters what became of a fetch.
func count(consumer bool, partitions []FetchPartition, results []FetchResult) {
	for i := range partitions {
		if p := partitions[i].Partition; p != nil {
			p.traffic.fetched(&results[i], consumer)
		}
	}
}

// fetches are used again: an idle consumer of a thousand partitions asks twice a second.
var fetches = sync.Pool{New: func() any { return new(delayedFetch) }}

// free gives the fetch back, with nothing in it that belongs to others. One that has waited for the
// bucket is left to the garbage collector: reads that go on may still hold its watches.
func (f *delayedFetch) free() {
	if len(f.frozen) > 0 {
		return
	}
	clear(f.watches)
	*f = delayedFetch{watches: f.watches[:0]}
	fetches.Put(f)
}

// delayedFetch is one Fetch under way. One goroutine owns it.
type delayedFetch struct {
	cold       *coldReads
	params     FetchParams
	partitions []FetchPartition
	results    []FetchResult

	asked   int  // partitions that take part
	left    int  // of MaxBytes; negative when a first batch was larger
	bytes   int  // read
	nonzero int  // partitions that have records
	stop    bool // an error or a divergence: no waiting

	frozen  []coldPart // partitions to be read from the bucket
	pending int        // reads of them that are under way
	fresh   bool       // some were started by this fetch

	waiter  *waiter
	watches []watch // one for each partition, hot or cold
}

// coldPart is a partition of the fetch whose data is in the bucket.
type coldPart struct {
	at    int       // in fetch.partitions
	share int       // of MaxBytes
	read  *coldRead // nil: not started, or taken
}

// read reads or looks again at one partition.
func (f *delayedFetch) read(ctx context.Context, i int) {
	p, result := &f.partitions[i], &f.results[i]
	again, logStart := f.waiter != nil, result.LogStartOffset
	if n := result.Records.Len(); n > 0 {
		result.Records.Release()
		p.Partition.sent(f.params.Replica, -n)
		f.left += n
		f.bytes -= n
		f.nonzero--
	}
	result.ReadResult, result.Err = p.Partition.readLocal(ReadRequest{
		Offset: p.Offset, MaxBytes: min(p.MaxBytes, max(f.left, 0)), MinOne: f.nonzero == 0,
		Isolation: f.params.Isolation, CurrentLeaderEpoch: p.CurrentLeaderEpoch, LastFetchedEpoch: p.LastFetchedEpoch,
		Replica: f.params.Replica, LogStart: p.LogStart, Directory: p.Directory, FromFollower: f.params.FromFollower, again: again,
	})
	f.stop = f.stop || result.Err != nil || result.Diverging != nil || f.params.Replica != nil && newsForReplica(p, result, again, logStart)
	switch {
	case result.Err != nil, result.Diverging != nil:
	case result.cold && f.readCached(ctx, i):
	case result.cold:
		// Its share comes in its turn, as if it were read here, but a slow bucket must not starve
		// the partitions behind.
		share := min(p.MaxBytes, max(f.left/2, 0))
		f.left -= share
		f.frozen = append(f.frozen, coldPart{at: i, share: max(share, 1)})
	default:
		f.took(result.Records.Len())
		p.Partition.sent(f.params.Replica, result.Records.Len())
		f.left -= result.Records.Len()
	}
}

// readCached reads a cold partition if all that it takes is in memory.
func (f *delayedFetch) readCached(ctx context.Context, i int) bool {
	p, result := &f.partitions[i], &f.results[i]
	most := min(p.MaxBytes, f.left)
	if most <= 0 && f.nonzero > 0 {
		return false
	}
	records, aborted, ok := f.cold.cached(ctx, f.coldKey(i), max(most, 1), result.upTo)
	if !ok {
		return false
	}
	result.Records, result.Aborted, result.cold = records, aborted, false
	f.took(records.Len())
	p.Partition.sent(f.params.Replica, records.Len())
	f.left -= records.Len()
	return true
}

func (f *delayedFetch) coldKey(i int) coldKey {
	p := &f.partitions[i]
	return coldKey{p.Partition, p.Offset, f.params.Isolation == ReadCommitted}
}

// newsForReplica reports whether a follower is answered at once, also without records: there is a
// higher high watermark for its readers, or the log start moved while it waited, since
// DeleteRecords waits for followers to delete as well.
func newsForReplica(asked *FetchPartition, r *FetchResult, again bool, logStart int64) bool {
	committed := asked.HighWatermark >= 0 && r.HighWatermark > asked.HighWatermark && r.Records.Len() == 0
	return committed || again && r.LogStartOffset > logStart
}

func (f *delayedFetch) took(n int) {
	if n > 0 {
		f.bytes += n
		f.nonzero++
	}
}

func (f *delayedFetch) satisfied() bool {
	return f.stop || f.bytes >= min(f.params.MinBytes, f.params.MaxBytes)
}

// wait watches the partitions until the fetch may be answered.
func (f *delayedFetch) wait(ctx context.Context, coldMaxWait time.Duration) {
	f.waiter = newWaiter()
	f.watches = slices.Grow(f.watches, len(f.partitions))[:len(f.partitions)]
	for i := range f.watches {
		f.watches[i] = watch{waiter: f.waiter, index: i}
	}
	for n := range f.frozen {
		f.startCold(&f.frozen[n])
	}
	defer f.unwatch()
	f.watch()

	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		until := f.patience(coldMaxWait) - time.Since(start)
		if until <= 0 {
			return
		}
		timer.Reset(f.recheck(until))
		select {
		case <-f.waiter.c:
			f.update(ctx)
		case <-timer.C:
			f.readHeld(ctx)
		case <-f.params.Hurry:
			return
		case <-ctx.Done():
			return
		}
	}
}

// patience is how long, since its start, the fetch waits as things are.
func (f *delayedFetch) patience(coldMaxWait time.Duration) time.Duration {
	switch {
	case f.satisfied() && f.pending == 0:
		return 0
	case f.satisfied() && !f.fresh:
		return 0
	case f.satisfied():
		return coldGrace
	case f.pending > 0:
		return max(f.params.MaxWait, coldMaxWait)
	default:
		return f.params.MaxWait
	}
}

// startCold has a cold partition read, as far as this fetch may.
func (f *delayedFetch) startCold(c *coldPart) {
	if f.pending >= maxColdReads {
		return
	}
	read, fresh := f.cold.start(f.params.Client, f.coldKey(c.at), c.share, f.results[c.at].upTo, &f.watches[c.at])
	if read == nil {
		return
	}
	c.read = read
	f.pending++
	f.fresh = f.fresh || fresh
}

// watch registers with the hot partitions and then looks whether one has changed since it was read.
func (f *delayedFetch) watch() {
	for i := range f.partitions {
		if r, p := &f.results[i], f.partitions[i].Partition; p != nil && r.Err == nil && !r.cold {
			p.watchers.add(&f.watches[i])
		}
	}
	for i := range f.partitions {
		r, p := &f.results[i], f.partitions[i].Partition
		if p != nil && r.Err == nil && !r.cold && (p.role.Load() != r.role || f.moved(i)) {
			f.watches[i].signal()
		}
	}
}

// moved reports whether there is news of a partition since it was read: every offset that its
// answer may wait for is compared.
func (f *delayedFetch) moved(i int) bool {
	asked, r := &f.partitions[i], &f.results[i]
	log := asked.Partition.log
	if f.params.Replica != nil {
		return log.EndOffset() != r.end || log.StartOffset() != r.LogStartOffset || asked.HighWatermark >= 0 && log.HighWatermark() != r.HighWatermark
	}
	return log.HighWatermark() != r.HighWatermark || f.params.Isolation == ReadCommitted && log.LastStableOffset() != r.LastStableOffset
}

// unwatch lets go of everything but the results.
func (f *delayedFetch) unwatch() {
	for i := range f.partitions {
		if p := f.partitions[i].Partition; p != nil {
			p.watchers.remove(&f.watches[i])
		}
	}
	for _, c := range f.frozen {
		if c.read != nil {
			f.cold.abandon(c.read)
		}
	}
}

// update looks at what was signaled.
func (f *delayedFetch) update(ctx context.Context) {
	for _, i := range f.waiter.take(f.watches) {
		if f.results[i].cold {
			f.takeCold(i)
			continue
		}
		f.read(ctx, i)
	}
}

func (f *delayedFetch) takeCold(i int) {
	for n := range f.frozen {
		c := &f.frozen[n]
		if c.at != i || c.read == nil {
			continue
		}
		result := &f.results[i]
		result.Records, result.Aborted, result.Err = f.cold.result(c.read)
		c.read = nil
		f.pending--
		if errors.Is(result.Err, errColdLate) { // the next one takes over what it has begun
			result.Err = nil
			f.startCold(c)
			continue
		}
		f.took(result.Records.Len())
		f.partitions[i].Partition.sent(f.params.Replica, result.Records.Len())
		f.stop = f.stop || result.Err != nil
	}
}
