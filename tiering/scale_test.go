package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// distant is the round-trip time to the bucket and the metadata store: each request takes that
// long.
type distant time.Duration

func (d distant) wait(ctx context.Context) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// manyBucket has the manifests of many partitions. The other methods of a bucket are not called for
// partitions without work.
type manyBucket struct {
	objstore.Bucket
	distant

	objects  map[string][]byte // read only
	requests atomic.Int64
}

func (b *manyBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	b.requests.Add(1)
	if err := b.wait(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", objstore.ErrUnavailable, err)
	}
	content, ok := b.objects[key]
	if !ok {
		return 0, objstore.ErrNotFound
	}
	n := copy(p, content[min(off, int64(len(content))):])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// DeleteAll keeps everything: the deleted objects are trash that the manifests list.
func (b *manyBucket) DeleteAll(ctx context.Context, _ []string) error {
	b.requests.Add(1)
	return b.wait(ctx)
}

type manyStore struct {
	*kvtest.MemStore
	distant
}

func (s manyStore) Get(ctx context.Context, key string) (kv.Pair, error) {
	if err := s.wait(ctx); err != nil {
		return kv.Pair{}, err
	}
	return s.MemStore.Get(ctx, key)
}

func (s manyStore) Txn(ctx context.Context, c []kv.Comparison, ops ...kv.Op) (int64, error) {
	if err := s.wait(ctx); err != nil {
		return 0, err
	}
	return s.MemStore.Txn(ctx, c, ops...)
}

// quietLog is the log of a partition without producers: all of it is in the tier except the
// active segment.
type quietLog struct{ end int64 }

func (l quietLog) StartOffset() int64      { return 0 }
func (l quietLog) LocalStartOffset() int64 { return l.end }
func (l quietLog) EndOffset() int64        { return l.end }
func (l quietLog) EpochEntries() []storage.EpochEntry {
	return []storage.EpochEntry{{Epoch: 4, StartOffset: 0}}
}
func (l quietLog) closedSegments(int64) []closedSegment { return nil }
func (l quietLog) SizeFrom(int64) int64                 { return 0 }
func (l quietLog) WaitsSince(int64) time.Time           { return time.Time{} }
func (l quietLog) SetRemoteEndOffset(int64)             {}
func (l quietLog) AdvanceStartOffset(int64) error       { return nil }

// many is a cluster's remote tier: partitions whose manifests have segments, and no trash but the
// previous manifest.
type many struct {
	tb         testing.TB
	bucket     *manyBucket
	store      manyStore
	partitions int
	log        quietLog
	config     storage.Config
	epoch      int32
}

var manyTopic = metadata.TopicID{7}

func newMany(tb testing.TB, partitions, segments int, latency time.Duration) *many {
	tb.Helper()
	s := &many{
		tb: tb, bucket: &manyBucket{objects: map[string][]byte{}}, store: manyStore{kvtest.NewMemStore(), 0},
		partitions: partitions, log: quietLog{int64(segments) * 1000}, config: storage.DefaultConfig(), epoch: 4,
	}
	tb.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			tb.Error(err)
		}
	})
	s.config.RemoteStorageEnable, s.config.RetentionMs = true, 365*24*3600_000
	for i := range int32(partitions) {
		s.add(i, segments)
	}
	s.bucket.distant, s.store.distant = distant(latency), distant(latency)
	return s
}

// add writes the manifest and the pointer of a partition.
func (s *many) add(partition int32, segments int) {
	s.tb.Helper()
	m := &format.Manifest{ClusterID: "cluster", Topic: "orders", TopicID: manyTopic, Partition: partition, LastEpoch: -1}
	now := time.Now().UnixMilli()
	for i := range int64(segments) {
		e := benchSegment(i*1000, i*1000+1000, 64<<20)
		e.MaxTimestamp = now
		m.Append(format.Edit{}, e)
		if _, err := m.Seal(format.DefaultShape, "00112233aabbccdd"); err != nil {
			s.tb.Fatal(err)
		}
	}
	m.LeaderEpoch, m.Sequence, m.Attempt = 4, int64(segments), "00112233aabbccdd"
	m.Trash = []format.Trash{{
		Kind: format.KindManifest.String(), Size: 8000, Reason: format.ReasonReplacedManifest, DeletedMs: 1, AfterMs: 2,
		Name: format.Name{Kind: format.KindManifest, LeaderEpoch: 4, Sequence: int64(segments) - 1, Attempt: "00112233aabbccdd"}.String(),
	}}
	content, stored, err := m.Encode()
	if err != nil {
		s.tb.Fatal(err)
	}
	ptr := &format.Pointer{LeaderEpoch: 4, BrokerID: 9, Claim: "00112233aabbccdd"}
	ptr.SetManifest(m, stored)
	key := metadata.TierKey(manyTopic, partition)
	if _, err = swapPointer(s.tb.Context(), s.store, key, 0, ptr); err != nil {
		s.tb.Fatal(err)
	}
	s.bucket.objects[format.PartitionPrefix("", manyTopic, partition)+stored.Name] = content
}

// broker returns a broker that becomes the leader of all partitions.
func (s *many) broker(change func(*Options)) *Manager {
	o := Options{
		Bucket: objstore.Limit(s.bucket, 128), Store: s.store, ClusterID: "cluster", BrokerID: 3, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// run runs the manager until stop is called.
func (s *many) run(m *Manager) (stop func()) {
	s.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.tb.Error(err)
		}
	})
}

// failover makes the broker the leader of all partitions, and returns when all are attached.
func (s *many) failover(m *Manager) {
	s.tb.Helper()
	s.epoch++
	stats := new(Stats)
	config := func() storage.Config { return s.config }
	for i := range int32(s.partitions) {
		m.attach(context.Background(), Partition{TopicID: manyTopic, TopicPartition: manyPartition(i), LeaderEpoch: s.epoch, Config: config, Stats: stats}, s.log)
	}
	for i := range int32(s.partitions) {
		p, _ := m.partition(manyPartition(i))
		if tried := p.tried(); tried != nil {
			<-tried
		}
		if state := p.state(); state != StateActive {
			s.tb.Fatalf("partition %d is %s: %v", i, state, p.lastErr())
		}
	}
}

func manyPartition(i int32) metadata.TopicPartition {
	return metadata.TopicPartition{Topic: "orders", Partition: i}
}

// drop detaches all partitions from the broker.
func (s *many) drop(m *Manager) {
	for i := range int32(s.partitions) {
		m.Detach(context.Background(), manyPartition(i))
	}
}

// heapInUse returns the heap's size in bytes.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what the first one has finalized
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// heapOf returns what each attached partition takes in bytes, including the manifest but
// not the caches.
func (s *many) heapOf(m *Manager) float64 {
	attached := heapInUse()
	s.drop(m)
	detached := heapInUse()
	runtime.KeepAlive(m) // its caches are in both
	return float64(attached-detached) / float64(s.partitions)
}

// TestManyPartitionsAreAttachedTogether: a failover does not wait for the number of partitions
// times the time of their requests.
func TestManyPartitionsAreAttachedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMany(t, 3000, 4, 20*time.Millisecond)
		m := s.broker(nil)
		stop := s.run(m)
		defer stop()
		began := time.Now()
		s.failover(m)
		// Three requests each (read the pointer, load the manifest, claim the pointer), 256
		// partitions at a time.
		took := time.Since(began)
		t.Logf("attached in %v", took)
		if took > 800*time.Millisecond {
			t.Errorf("3,000 partitions took %v", took)
		}
	})
}

// TestManifestsAreLoadedWithinMemory checks the bound, however many partitions are attached at a
// time.
func TestManifestsAreLoadedWithinMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMany(t, 100, 4, time.Second)
		m := s.broker(nil)
		if !m.loads.TryAcquire(manifestMemory - 5000) { // room for two
			t.Fatal("no room")
		}
		stop := s.run(m)
		defer stop()
		began := time.Now()
		s.failover(m)
		if took := time.Since(began); took < 50*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestLedPartitionsAreSmall: a partition that is neither read nor written stays below 2 KiB,
// however long its history is. The race detector takes some more.
func TestLedPartitionsAreSmall(t *testing.T) {
	for _, segments := range []int{1, 200} {
		s := newMany(t, 500, segments, 0)
		m := s.broker(func(o *Options) { o.IndexCacheBytes = 1 })
		stop := s.run(m)
		s.failover(m)
		if n := s.heapOf(m); n > 2048 && !raceDetector || n > 4096 {
			t.Errorf("a partition with %d segments takes %.0f bytes", segments, n)
		}
		stop()
	}
}

// TestManyIdlePartitionsCostNothing: no request to the bucket in an hour, however long the history
// is.
func TestManyIdlePartitionsCostNothing(t *testing.T) {
	now := &clock{t: time.Now()}
	s := newMany(t, 200, 150, 0) // one page, and what follows it
	m := s.broker(func(o *Options) { o.Now, o.IndexCacheBytes = now.now, 1 })
	stop := s.run(m)
	s.failover(m)
	stop() // the rest is done step by step
	s.idle(m, now, time.Minute)
	before := s.bucket.requests.Load()
	s.idle(m, now, time.Hour-2*time.Minute) // the first sweeps are an hour after the failover
	if n := s.bucket.requests.Load() - before; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// BenchmarkAttach measures the failover of a broker that led 30,000 partitions, with a bucket and a
// metadata store that are 20 ms away, and its effect on produce and hot fetch on that broker.
func BenchmarkAttach(b *testing.B) {
	s := newMany(b, 30_000, 20, 20*time.Millisecond)
	log := hotLog(b)
	quiet := startHot(b, log)
	<-time.After(2 * time.Second)
	quiet.stop()
	var took, used time.Duration
	var busy latencies
	for b.Loop() {
		m := s.broker(nil)
		stop := s.run(m)
		hot := startHot(b, log)
		began, before := time.Now(), cpuTime(b)
		s.failover(m)
		took += time.Since(began)
		used += cpuTime(b) - before
		busy = append(busy, hot.stop()...)
		stop()
	}
	b.ReportMetric(took.Seconds()/float64(b.N), "attach-s")
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s")
	quiet.took.report(b, "quiet")
	busy.report(b, "attaching")
}

// hotLog returns a log on a disk, like that of a partition in use.
func hotLog(b *testing.B) *storage.Log {
	b.Helper()
	logs, err := storage.OpenManager(b.Context(), storage.Options{
		Logger: slog.New(slog.DiscardHandler), Dirs: []string{b.TempDir()}, ClusterID: "cluster", NodeID: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = logs.Close() })
	log, err := logs.Create("hot", 0, manyTopic)
	if err != nil {
		b.Fatal(err)
	}
	return log
}

// latencies are how long it took to append a batch of 10 kB and to read it, from the time
// when that was due.
type latencies []time.Duration

func (l latencies) report(b *testing.B, when string) {
	b.Helper()
	if len(l) == 0 {
		b.Fatal("nothing was written or read")
	}
	slices.Sort(l)
	ms := func(part float64) float64 { return l[int(part*float64(len(l)-1))].Seconds() * 1000 }
	b.ReportMetric(ms(0.5), when+"-p50-ms")
	b.ReportMetric(ms(0.99), when+"-p99-ms")
	b.ReportMetric(ms(1), when+"-max-ms")
}

// hot is a partition in use.
type hot struct {
	cancel context.CancelFunc
	done   chan struct{}
	took   latencies
}

// startHot appends and reads every two milliseconds.
func startHot(b *testing.B, log *storage.Log) *hot {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &hot{cancel: cancel, done: make(chan struct{})}
	batch := record.Batch(benchBatch(b))
	go func() {
		defer close(h.done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		var buf []byte
		for ctx.Err() == nil {
			due := <-tick.C
			batch.SetBaseOffset(0)
			info, err := log.Append(batch, 4)
			var read storage.Slice
			if err == nil {
				log.SetHighWatermark(log.EndOffset())
				read, err = log.Read(info.FirstOffset, 1<<20, log.EndOffset(), true)
			}
			if err == nil {
				buf, err = read.AppendTo(buf[:0])
				read.Release()
			}
			if err != nil {
				b.Error(err)
				return
			}
			h.took = append(h.took, time.Since(due))
		}
	}()
	return h
}

func (h *hot) stop() latencies {
	h.cancel()
	<-h.done
	return h.took
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkIdlePartition measures what a led partition costs that is neither read nor written: its
// memory, and its requests in an hour.
func BenchmarkIdlePartition(b *testing.B) {
	for _, segments := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			now := &clock{t: time.Now()}
			s := newMany(b, 10_000, segments, 0)
			var size, requests float64
			for b.Loop() {
				m := s.broker(func(o *Options) { o.Now, o.SweepGrace, o.Interval = now.now, 30*24*time.Hour, time.Minute })
				stop := s.run(m)
				s.failover(m)
				stop() // the rest is done step by step
				s.idle(m, now, time.Minute)
				before := s.bucket.requests.Load()
				s.idle(m, now, time.Hour)
				requests = float64(s.bucket.requests.Load()-before) / float64(s.partitions) / 60
				size = s.heapOf(m)
			}
			b.ReportMetric(size, "B/partition")
			b.ReportMetric(requests, "requests/partition-minute")
		})
	}
}

// idle does what is due within a time.
func (s *many) idle(m *Manager, now *clock, d time.Duration) {
	s.tb.Helper()
	for range int(d / m.o.Interval) {
		now.advance(m.o.Interval)
		for i := range int32(s.partitions) {
			p, _ := m.partition(manyPartition(i))
			_, err := p.step(context.Background())
			_, deleteErr := p.deleteStep(context.Background())
			if err = errors.Join(err, deleteErr); err != nil {
				s.tb.Fatal(err)
			}
		}
	}
}
