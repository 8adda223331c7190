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
	// maxColdReads bounds the reads from the bucket that one fetch has in progress. Its other cold
	// partitions have their turn later.
	maxColdReads = 64
	// coldGrace is how long a fetch that could be answered waits for the reads from the bucket that
	// it has just started. It is enough for the cache's memory and disk, and too short for clients
	// of the hot partitions to notice.
	coldGrace = 10 * time.Millisecond
)

// FetchParams holds the parameters of a fetch as a whole.
type FetchParams struct {
	MaxWait            time.Duration
	MinBytes, MaxBytes int
	Isolation          Isolation
	Replica            *metadata.Member // the fetching follower, nil for consumers
	FromFollower       bool             // see ReadRequest
	Client             string           // client id; clients share the bucket's bandwidth by it
	Hurry              <-chan struct{}  // a token ends the wait; may be nil
}

// FetchPartition is the request for one partition.
type FetchPartition struct {
	Partition          *Partition // nil: this entry is skipped and its result stays as it is
	Offset             int64
	MaxBytes           int
	CurrentLeaderEpoch int32 // as the client knows it, -1 for none
	LastFetchedEpoch   int32 // of the client's last record, -1 for none
	// HighWatermark is the one that the follower already knows, -1 for none. A fetch that can
	// report a higher one does not wait.
	HighWatermark int64
	LogStart      int64                // of the follower's log
	Directory     metadata.DirectoryID // directory of the follower's log; zero: not reported
}

// FetchResult is the answer for one partition. Its Records must be released, even if Err is set.
type FetchResult struct {
	ReadResult
	Err error
}

// Fetch reads several partitions, in order and up to MaxBytes. It waits until it has MinBytes,
// MaxWait has passed, a partition fails or diverges, or ctx ends. results must have one element per
// partition, in the same order; the caller owns both slices.
//
// Data that the tier has in memory is read like data on disk. Partitions whose data is in the
// bucket are read concurrently and delay no other partition. If the other partitions have enough,
// or the time is up, they stay empty; their reads continue and fill the cache for the next fetch.
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

// count adds a fetch's results to the topics' counters.
func count(consumer bool, partitions []FetchPartition, results []FetchResult) {
	for i := range partitions {
		if p := partitions[i].Partition; p != nil {
			p.traffic.fetched(&results[i], consumer)
		}
	}
}

// fetches are pooled: an idle consumer of a thousand partitions fetches twice a second.
var fetches = sync.Pool{New: func() any { return new(delayedFetch) }}

// free returns f to the pool without references to its results. A fetch that waited for the bucket
// is left to the garbage collector: reads that are still running may hold its watches.
func (f *delayedFetch) free() {
	if len(f.frozen) > 0 {
		return
	}
	clear(f.watches)
	*f = delayedFetch{watches: f.watches[:0]}
	fetches.Put(f)
}

// delayedFetch is a Fetch in progress. It belongs to one goroutine.
type delayedFetch struct {
	cold       *coldReads
	params     FetchParams
	partitions []FetchPartition
	results    []FetchResult

	asked   int  // partitions that are not skipped
	left    int  // bytes of MaxBytes; negative if a first batch was larger
	bytes   int  // bytes read
	nonzero int  // partitions that have records
	stop    bool // an error, a divergence or news for a follower: do not wait

	frozen  []coldPart // partitions to be read from the bucket
	pending int        // their reads in progress
	fresh   bool       // this fetch has started some of them

	waiter  *waiter
	watches []watch // one per partition, hot or cold
}

// coldPart is a partition of the fetch whose data is in the bucket.
type coldPart struct {
	at    int       // index in delayedFetch.partitions
	share int       // bytes of MaxBytes
	read  *coldRead // nil: not started, or its result was taken
}

// read reads one partition, for the first time or again.
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
		// The partition has its share in its turn, as if it had been read here. But a slow bucket
		// must not starve the partitions after it, so the share is at most half of what is left.
		share := min(p.MaxBytes, max(f.left/2, 0))
		f.left -= share
		f.frozen = append(f.frozen, coldPart{at: i, share: max(share, 1)})
	default:
		f.took(result.Records.Len())
		p.Partition.sent(f.params.Replica, result.Records.Len())
		f.left -= result.Records.Len()
	}
}

// readCached reads a cold partition if everything it needs is in memory.
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

// newsForReplica reports whether a follower is answered at once even without records: the high
// watermark is higher than the one that the follower knows and passes on to its readers, or the log
// start moved during the wait, since DeleteRecords waits for followers to delete too.
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

// patience returns how long the fetch waits in its present state, counted from its start.
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

// startCold starts reading a cold partition, unless the fetch already has maxColdReads in progress.
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

// watch registers with the hot partitions, then checks whether one of them has changed since it was
// read.
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

// moved reports whether a partition has changed since it was read. It compares every offset that
// the answer may be waiting for.
func (f *delayedFetch) moved(i int) bool {
	asked, r := &f.partitions[i], &f.results[i]
	log := asked.Partition.log
	if f.params.Replica != nil {
		return log.EndOffset() != r.end || log.StartOffset() != r.LogStartOffset || asked.HighWatermark >= 0 && log.HighWatermark() != r.HighWatermark
	}
	return log.HighWatermark() != r.HighWatermark || f.params.Isolation == ReadCommitted && log.LastStableOffset() != r.LastStableOffset
}

// unwatch releases everything except the results.
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

// update looks at the partitions that were signaled.
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
		// The next read continues where this one stopped.
		if errors.Is(result.Err, errColdLate) {
			result.Err = nil
			f.startCold(c)
			continue
		}
		f.took(result.Records.Len())
		f.partitions[i].Partition.sent(f.params.Replica, result.Records.Len())
		f.stop = f.stop || result.Err != nil
	}
}
