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

// Options says what a Manager works with. Bucket and Store are required; every
// other zero value stands for a default.
type Options struct {
	Bucket objstore.Bucket
	Store  kv.Store
	// Opened is closed when the bucket is known to be the cluster's: Run does not touch it, nor a
	// pointer, before. nil: it is.
	Opened <-chan struct{}
	// Prefix is what all object keys begin with, "" for the whole bucket.
	Prefix     string
	ClusterID  string
	BrokerID   int32
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Tracer     trace.Tracer // of uploads and reads; nil: they are not traced
	Now        func() time.Time
	// Live is what Run passes to CleanDeleted; nil: deleted topics stay.
	Live func(id metadata.TopicID, revision int64) bool
	// Cluster is for the work on the bucket as a whole, which the controller does: the catalogue of
	// topics, and the sweep for objects of topics that nothing knows. nil: it is not done.
	Cluster Cluster
	// Verify compares the bucket with the cluster again; nil: it is not compared.
	Verify func(ctx context.Context) error
	// Tiered is told when a partition's committed history ends at another
	// offset (exclusive), and sometimes again; it must not block. May be nil.
	Tiered func(id metadata.TopicID, partition int32, endOffset int64)

	// CopyRate is how many bytes a second all uploads send together, asked again and again; what they
	// do not send within CopyWindow they may send later. nil, and math.MaxInt64, is no limit.
	CopyRate   func() int64
	CopyWindow time.Duration // 11 s

	// AttachConcurrency is how many partitions are attached at a time; 256. Each waits for a handful of
	// requests, one after the other, and does little: after a failover of 30,000 partitions it is
	// how long they wait for each other.
	AttachConcurrency int
	UploadConcurrency int   // segments that go up at a time, of one partition or of many; 2
	DeleteConcurrency int   // from how many partitions objects are deleted at a time; 2
	FetchConcurrency  int   // reads of the object store at a time; 16
	ChunkBytes        int   // of new objects, and so the least that a cold read gets; 256 KiB
	CacheBytes        int64 // of chunks; 128 MiB
	IndexCacheBytes   int64 // half of it of indexes of segments, a quarter each of pages and of manifests; 64 MiB
	ReadAheadBytes    int64 // that are read ahead of all sequential readers; negative: none; 3/8 of CacheBytes, which is the most
	FetchRate         int64 // bytes that readers get from the object store a second; 0: no limit
	ClientFetchRate   int64 // that the readers of one client id get; 0: no limit
	// Disk is a cache of chunks behind the one in memory; nil: there is none.
	Disk DiskCache

	Interval        time.Duration // how often every partition is looked at without a Kick; 10 s
	RetryBackoff    time.Duration // after a first failure; 500 ms
	RetryBackoffMax time.Duration // 30 s
	RequestTimeout  time.Duration // of every small request; 30 s
	UploadTimeout   time.Duration // of a segment; 15 min
	DeleteDelay     time.Duration // between the end of a segment in the manifest and in the bucket; 1 min
	SweepInterval   time.Duration // between looks for orphans; 24 h
	SweepGrace      time.Duration // how old an object must be to be one; 1 h
	OrphanGrace     time.Duration // how long what nothing knows is left after it was found; 7 days
	CleanInterval   time.Duration // between looks for deleted topics, and at the bucket's catalogue; 1 min
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

// manifestMemory bounds the bytes of manifests that are being loaded, whatever their number.
const manifestMemory = 64 << 20

// Manager owns the remote tier of the partitions that this broker leads, and
// reads that of the partitions that it follows. All
// methods may be called concurrently; nothing happens outside of Run, but for
// what a caller of Rebuild waits for.
type Manager struct {
	o           Options
	store       store
	shape       format.Shape // of the manifests that are written
	metrics     *metrics
	objects     *objects
	loads       *semaphore.Weighted // of manifestMemory
	fetcher     *fetcher
	background  *fetcher // for work that no reader waits for
	scheduler   *scheduler
	chunks      *cache[chunkKey, []byte]
	indexes     *cache[indexKey, indexed]
	pages       *cache[string, *format.Page]
	manifests   *cache[string, *format.Manifest] // of leaders
	readAhead   *readAhead
	streams     *streams
	warnings    warnings
	cleaning    cleaning
	wide        bucketWide
	lastSuccess lastSuccess
	running     atomic.Bool
	rebuilding  sync.Map // partitions whose pointer is being rebuilt; few at any time

	mu struct {
		sync.RWMutex
		partitions map[metadata.TopicPartition]*partition
	}
}

// New makes a Manager. It starts nothing and talks to nobody.
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

// Run uploads, expires and reads until ctx ends, and returns after everything
// that it started has ended. It is called once. Reads before it wait; reads
// after it fail.
func (m *Manager) Run(ctx context.Context) error {
	if m.running.Swap(true) {
		return fmt.Errorf("run the remote tier: %w", ErrClosed)
	}
	var wg sync.WaitGroup
	// Workers read pages through a fetcher, which outlives them: it ends with
	// the same ctx, and says so to all who wait.
	stepped.Go(ctx, &wg, func(ctx context.Context) { m.fetcher.run(ctx, m.o.FetchConcurrency) })
	stepped.Go(ctx, &wg, func(ctx context.Context) { m.background.run(ctx, m.o.UploadConcurrency) }) // no worker of the copy lane waits for another
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

// startWorkers starts those of each lane.
func (m *Manager) startWorkers(ctx context.Context, wg *sync.WaitGroup) {
	for l, n := range [laneCount]int{laneAttach: m.o.AttachConcurrency, laneCopy: m.o.UploadConcurrency, laneDelete: m.o.DeleteConcurrency} {
		for range n {
			stepped.Go(ctx, wg, func(ctx context.Context) { m.work(ctx, lane(l)) })
		}
	}
}

// endWaits has readers that wait for a manifest wait no longer: nothing loads it any more.
func (m *Manager) endWaits() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, p := range m.mu.partitions { // any order
		p.triedOnce()
	}
}

// opened waits until the bucket may be used; false: ctx has ended.
func (m *Manager) opened(ctx context.Context) bool {
	if m.o.Opened == nil {
		return true
	}
	return stepped.Done(ctx, -1, m.o.Opened)
}

// Attach takes the partition in: this broker leads it at that epoch. It returns
// at once; the manifest is loaded in the background, again and again if need
// be. A partition that is attached already is detached first.
func (m *Manager) Attach(ctx context.Context, p Partition) { m.attach(ctx, p, storageLog{p.Log}) }

func (m *Manager) attach(ctx context.Context, config Partition, log localLog) {
	p := m.newLeader(ctx, config, log)
	m.enter(ctx, p)
	m.scheduler.push(p.owning)
}

// enter takes the partition in, in the place of an older attachment.
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

// Detach lets the partition go. When it returns the Manager does not touch its
// log any more; an upload under way is given up. The end of ctx does not end the wait for that.
func (m *Manager) Detach(ctx context.Context, tp metadata.TopicPartition) {
	m.mu.Lock()
	p := m.mu.partitions[tp]
	delete(m.mu.partitions, tp)
	m.mu.Unlock()
	if p != nil {
		m.release(ctx, p)
	}
}

func (m *Manager) release(ctx context.Context, p *partition) {
	if p.follower != nil {
		return
	}
	m.scheduler.remove(ctx, p.owning, p.deleting)
	p.apply(ownership.Resigned{})
	p.setLag(lag{})
}

// Kick is a hint that the partition has something to do: a segment was closed,
// the high watermark has passed one, the log start or a setting has changed.
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

// led are the partitions that this broker leads, in the order of their names: ids are drawn.
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

// attached returns true if any partition of the topic is attached.
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

// work is a worker of a lane.
func (m *Manager) work(ctx context.Context, l lane) {
	for m.workOnce(ctx, l) {
	}
}

func (m *Manager) workOnce(ctx context.Context, l lane) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, ok := m.scheduler.next(ctx, l, cancel)
	if !ok {
		return false
	}
	var out outcome
	if l == laneDelete {
		out, _ = t.p.deleteStep(ctx) // what fails is noted
	} else {
		out = m.ownStep(ctx, t.p, l)
	}
	if ctx.Err() != nil { // the partition was let go, or Run ends
		out = outcome{lane: l}
	}
	m.scheduler.finish(t, out)
	return true
}

// ownStep does a unit of the owner's work.
func (m *Manager) ownStep(ctx context.Context, p *partition, l lane) outcome {
	before := p.manifest.Load()
	var more bool
	if l == laneAttach {
		more = p.attach(ctx) == nil // what fails is noted
	} else {
		more, _ = p.step(ctx)
	}
	out := p.outcome(more)
	p.triedOnce()
	if p.manifest.Load() != before {
		m.scheduler.push(p.deleting) // another list
	}
	return out
}
