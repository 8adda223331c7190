package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// Options configures a Manager. Bucket and Store are required; every other zero value stands for a
// default, which the field's comment gives.
type Options struct {
	Bucket objstore.Bucket
	Store  kv.Store
	// Opened is closed when the bucket is known to be the cluster's. Before that Run touches
	// neither the bucket nor a pointer. nil: the bucket is known.
	Opened <-chan struct{}
	// Prefix begins all object keys; "": the whole bucket.
	Prefix     string
	ClusterID  string
	BrokerID   int32
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Tracer     trace.Tracer // of uploads and reads; nil: no traces
	Now        func() time.Time
	// Live is passed to CleanDeleted by Run; nil: deleted topics stay.
	Live func(id metadata.TopicID, revision int64) bool
	// Cluster is for the work on the bucket as a whole, which the controller does: the catalogue of
	// topics, and the sweep for objects of topics that nothing knows. nil: that work is not done.
	Cluster Cluster
	// Verify compares the bucket with the cluster again before a sweep of the bucket; nil:
	// no comparison.
	Verify func(ctx context.Context) error
	// Tiered is called when a partition's committed history ends at another offset (exclusive), and
	// sometimes without a change. It must not block. May be nil.
	Tiered func(id metadata.TopicID, partition int32, endOffset int64)

	// CopyRate returns how many bytes a second all uploads together may send. It is called again
	// and again. What they do not send within CopyWindow they may send later. nil and math.MaxInt64
	// mean no limit.
	CopyRate   func() int64
	CopyWindow time.Duration // 11 s

	// AttachConcurrency is how many partitions are attached at a time; 256. Each waits for a
	// handful of requests in sequence, and does little. After a failover of 30,000 partitions this
	// bounds how long they wait for each other.
	AttachConcurrency int
	// AttachDelay is how long after Attach a manifest is loaded if no reader waits for it; 0: none.
	// A failover thus gives the metadata store and the processors to its elections first.
	AttachDelay       time.Duration
	UploadConcurrency int   // segments that are uploaded at a time, of one partition or of many; 2
	DeleteConcurrency int   // partitions from which objects are deleted at a time; 2
	FetchConcurrency  int   // reads of the object store at a time; 16
	ChunkBytes        int   // of new objects, and so the least that a cold read fetches; 256 KiB
	CacheBytes        int64 // of the chunk cache; 128 MiB
	// IndexCacheBytes is split: half for indexes of segments, a quarter each for pages and
	// manifests; 64 MiB.
	IndexCacheBytes int64
	// ReadAheadBytes bounds what is read ahead of all sequential readers; negative: nothing; 3/8 of
	// CacheBytes, which is also the maximum.
	ReadAheadBytes  int64
	FetchRate       int64 // bytes a second that readers get from the object store; 0: no limit
	ClientFetchRate int64 // the same for the readers of one client id; 0: no limit
	// Disk is a second cache of chunks, on disk; nil: none.
	Disk DiskCache

	Interval        time.Duration // how often every partition is checked without a Kick; 10 s
	RetryBackoff    time.Duration // after a first failure; 500 ms
	RetryBackoffMax time.Duration // 30 s
	RequestTimeout  time.Duration // of every small request; 30 s
	UploadTimeout   time.Duration // of a segment, without what the quota adds; 15 min
	DeleteDelay     time.Duration // from when the manifest drops an object to its deletion; 1 min
	SweepInterval   time.Duration // between sweeps for orphans; 24 h
	SweepGrace      time.Duration // minimum age of an object that a sweep deletes; 1 h
	OrphanGrace     time.Duration // how long objects of unknown topics stay once found; 7 days
	CleanInterval   time.Duration // between checks for deleted topics, and of the catalogue; 1 min
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	orDefault(&o.CopyWindow, 11*time.Second)
	orDefault(&o.AttachConcurrency, 256)
	orDefault(&o.UploadConcurrency, 2)
	orDefault(&o.DeleteConcurrency, 2)
	orDefault(&o.FetchConcurrency, 16)
	orDefault(&o.ChunkBytes, 256<<10)
	orDefault(&o.CacheBytes, 128<<20)
	orDefault(&o.IndexCacheBytes, 64<<20)
	orDefault(&o.ReadAheadBytes, o.CacheBytes)
	o.ReadAheadBytes = min(o.ReadAheadBytes, o.CacheBytes*aheadShare/8)
	orDefault(&o.Interval, 10*time.Second)
	orDefault(&o.RetryBackoff, 500*time.Millisecond)
	orDefault(&o.RetryBackoffMax, 30*time.Second)
	orDefault(&o.RequestTimeout, 30*time.Second)
	orDefault(&o.UploadTimeout, 15*time.Minute)
	orDefault(&o.DeleteDelay, time.Minute)
	orDefault(&o.SweepInterval, 24*time.Hour)
	orDefault(&o.SweepGrace, time.Hour)
	orDefault(&o.OrphanGrace, catalogue.DefaultGrace)
	orDefault(&o.CleanInterval, time.Minute)
	o.ChunkBytes = min(max(o.ChunkBytes, format.MinChunkBytes), format.MaxChunkBytes)
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// manifestMemory bounds the total bytes of manifests that are being loaded.
const manifestMemory = 64 << 20

// Manager owns the remote tier of the partitions that this broker leads, and reads the tier of
// those that it follows. All methods may be called concurrently. Nothing happens outside of Run,
// except the work that a caller of Rebuild waits for.
type Manager struct {
	o           Options
	store       store
	shape       format.Shape // of the manifests that are written
	metrics     *metrics
	objects     *objects
	loads       *semaphore.Weighted // bytes of manifests being loaded, at most manifestMemory
	fetcher     *fetcher
	background  *fetcher // for work that no reader waits for
	scheduler   *scheduler
	chunks      *cache[chunkKey, []byte]
	indexes     *cache[indexKey, indexed]
	pages       *cache[string, *format.Page]
	manifests   *cache[string, *format.Manifest] // of the partitions that this broker leads
	readAhead   *readAhead
	streams     *streams
	warnings    warnings
	cleaning    cleaning
	wide        bucketWide
	lastSuccess lastSuccess
	running     atomic.Bool
	rebuilding  sync.Map // set of *partition whose pointer is being rebuilt; few at any time

	mu struct {
		sync.RWMutex
		partitions map[metadata.TopicPartition]*partition
	}
}

// New returns a Manager. It starts nothing and sends no request.
func New(o Options) *Manager {
	o.setDefaults()
	m := &Manager{o: o, store: o.Store, shape: format.DefaultShape, metrics: newMetrics(o.Registerer), scheduler: newScheduler()}
	m.loads = semaphore.NewWeighted(manifestMemory)
	m.objects = &objects{bucket: o.Bucket, timeout: o.RequestTimeout, uploadTimeout: o.UploadTimeout, metrics: m.metrics}
	m.fetcher = newFetcher(2*o.RequestTimeout, m.metrics.fetchQueue, o.FetchRate, o.ClientFetchRate)
	m.background = newFetcher(2*o.RequestTimeout, m.metrics.fetchQueue, 0, 0)
	m.chunks = newCache[chunkKey]("chunk", m.fetcher, o.CacheBytes, func(b []byte) int64 { return int64(cap(b)) }, m.metrics)
	m.chunks.ahead = o.ReadAheadBytes
	m.chunks.rises = m.toDisk
	m.indexes = newCache[indexKey]("index", m.fetcher, o.IndexCacheBytes/2, indexed.Cost, m.metrics)
	m.pages = newCache[string]("page", m.fetcher, o.IndexCacheBytes/4, (*format.Page).Cost, m.metrics)
	m.manifests = newCache[string]("manifest", m.fetcher, o.IndexCacheBytes/4, (*format.Manifest).Cost, m.metrics)
	m.readAhead = newReadAhead(o.ReadAheadBytes)
	m.objects.quota = newCopyQuota(&m.o)
	m.streams = newStreams(o.UploadConcurrency)
	m.mu.partitions = map[metadata.TopicPartition]*partition{}
	m.lastSuccess.begin(o.Now())
	if o.Registerer != nil {
		o.Registerer.MustRegister(watch{m})
	}
	return m
}

// Run uploads, expires and reads until ctx ends, and returns after everything that it started has
// ended. It is called once. Reads before it wait; reads after it fail.
func (m *Manager) Run(ctx context.Context) error {
	if m.running.Swap(true) {
		return fmt.Errorf("run the remote tier: %w", ErrClosed)
	}
	var wg sync.WaitGroup
	// Workers read pages through a fetcher. The fetcher ends with the same ctx, and then fails
	// every read that is still queued, so no worker waits for it in vain.
	stepped.Go(ctx, &wg, func(ctx context.Context) { m.fetcher.run(ctx, m.o.FetchConcurrency) })
	// As many workers as the copy lane has: none of these waits for another's read.
	stepped.Go(ctx, &wg, func(ctx context.Context) { m.background.run(ctx, m.o.UploadConcurrency) })
	if m.opened(ctx) {
		m.startWorkers(ctx, &wg)
		stepped.Go(ctx, &wg, func(ctx context.Context) { m.scheduler.keepTime(ctx, m.o.Interval, m.kickAll) })
		stepped.Go(ctx, &wg, m.keepClean)
		stepped.Go(ctx, &wg, m.keepBucket)
	}
	stepped.Done(ctx, -1, nil)
	wg.Wait()
	m.endWaits()
	return nil
}

// startWorkers starts the workers of each lane.
func (m *Manager) startWorkers(ctx context.Context, wg *sync.WaitGroup) {
	for l, n := range [laneCount]int{laneAttach: m.o.AttachConcurrency, laneCopy: m.o.UploadConcurrency, laneDelete: m.o.DeleteConcurrency} {
		for range n {
			stepped.Go(ctx, wg, func(ctx context.Context) { m.work(ctx, lane(l)) })
		}
	}
}

// endWaits releases readers that wait for a manifest: nothing loads it any more.
func (m *Manager) endWaits() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range m.mu.partitions { // any order
		p.triedOnce()
	}
}

// opened waits until the bucket may be used. It returns false if ctx ends first.
func (m *Manager) opened(ctx context.Context) bool {
	if m.o.Opened == nil {
		return true
	}
	return stepped.Done(ctx, -1, m.o.Opened)
}

// Attach adds a partition that this broker leads at the given epoch. It returns at once; the
// manifest is loaded in the background, with as many attempts as needed: after AttachDelay, or as
// soon as a reader, a closed segment (Kick) or a suspect leader waits for it. A partition that is
// already attached is detached first.
func (m *Manager) Attach(ctx context.Context, p Partition) { m.attach(ctx, p, storageLog{p.Log}) }

func (m *Manager) attach(ctx context.Context, config Partition, log localLog) {
	p := m.newLeader(ctx, config, log)
	m.enter(ctx, p)
	if m.o.AttachDelay <= 0 || config.Suspect != nil {
		m.scheduler.push(p.owning)
		return
	}
	m.scheduler.pushAt(p.owning, time.Now().Add(m.o.AttachDelay))
}

// enter adds the partition in place of an older attachment.
func (m *Manager) enter(ctx context.Context, p *partition) {
	m.mu.Lock()
	old := m.mu.partitions[p.TopicPartition]
	p.inherit(old)
	m.mu.partitions[p.TopicPartition] = p
	m.mu.Unlock()
	if old != nil {
		m.release(ctx, old)
	}
}

// Detach removes the partition. When it returns no worker touches the partition's log any more; an
// upload under way is canceled. The wait for that does not end with ctx.
func (m *Manager) Detach(ctx context.Context, tp metadata.TopicPartition) {
	m.mu.Lock()
	p := m.mu.partitions[tp]
	delete(m.mu.partitions, tp)
	m.mu.Unlock()
	if p != nil {
		m.release(ctx, p)
	}
}

// release ends a partition's tasks, and its ownership. A follower has neither.
func (m *Manager) release(ctx context.Context, p *partition) {
	if p.follower != nil {
		return
	}
	m.scheduler.remove(ctx, p.owning, p.deleting)
	p.apply(ownership.Resigned{})
	p.setLag(lag{})
}

// Kick is a hint that the partition may have work: a segment was closed, the high watermark has
// passed one, or the log start or a setting has changed.
func (m *Manager) Kick(tp metadata.TopicPartition) {
	if p, ok := m.partition(tp); ok && p.follower == nil {
		m.scheduler.push(p.owning)
	}
}

func (m *Manager) kickAll() {
	for _, p := range m.led() {
		m.scheduler.push(p.owning)
	}
}

// led returns the partitions that this broker leads, in the order of their names, not in the random
// order of ids: the order of work has to be reproducible.
func (m *Manager) led() []*partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]*partition, 0, len(m.mu.partitions))
	for _, p := range m.mu.partitions { // any order
		if p.follower == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *partition) int {
		return a.TopicPartition.Compare(b.TopicPartition)
	})
	return all
}

func (m *Manager) partition(tp metadata.TopicPartition) (*partition, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.mu.partitions[tp]
	return p, ok
}

// attached reports whether any partition of the topic is attached.
func (m *Manager) attached(id metadata.TopicID) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range m.mu.partitions { // any order
		if p.TopicID == id {
			return true
		}
	}
	return false
}

// work is the loop of a lane's worker.
func (m *Manager) work(ctx context.Context, l lane) {
	for m.workOnce(ctx, l) {
	}
}

// workOnce does one unit of work. It returns false when ctx has ended.
func (m *Manager) workOnce(ctx context.Context, l lane) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, ok := m.scheduler.next(ctx, l, cancel)
	if !ok {
		return false
	}
	var out outcome
	if l == laneDelete {
		out, _ = t.p.deleteStep(ctx) // the partition records failures
	} else {
		out = m.ownStep(ctx, t.p, l)
	}
	if ctx.Err() != nil { // the partition was detached, or Run ends
		out = outcome{lane: l}
	}
	m.scheduler.finish(t, out)
	return true
}

// ownStep does one unit of the owner's work.
func (m *Manager) ownStep(ctx context.Context, p *partition, l lane) outcome {
	before := p.manifest.Load()
	var more bool
	if l == laneAttach {
		more = p.attach(ctx) == nil // the partition records failures
	} else {
		more, _ = p.step(ctx)
	}
	out := p.outcome(more)
	p.triedOnce()
	if p.manifest.Load() != before {
		m.scheduler.push(p.deleting) // another manifest lists other trash
	}
	return out
}
