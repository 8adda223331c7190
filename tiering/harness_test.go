package tiering

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

var errCrash = errors.New("crashed here")

// world is what survives a broker: the bucket, the metadata store and the disk.
type world struct {
	t      *testing.T
	bucket objstore.Bucket
	faults *objstoretest.Faults // around bucket
	store  *kvtest.MemStore
	id     metadata.TopicID
	tp     metadata.TopicPartition
	now    *clock
	cfg    *settings
	// trap counts all requests and makes one of them fail; nil: none.
	trap *trap
}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// settings is the topic's config, which a test may change at any time.
type settings struct {
	mu sync.Mutex
	c  storage.Config
}

func (s *settings) get() storage.Config { s.mu.Lock(); defer s.mu.Unlock(); return s.c }
func (s *settings) set(change func(c *storage.Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.c)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bucket, err := objstore.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	store := kvtest.NewMemStore()
	t.Cleanup(func() {
		if err := errors.Join(bucket.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	cfg := storage.DefaultConfig()
	cfg.RemoteStorageEnable = true
	cfg.RetentionMs = -1
	return &world{
		t: t, bucket: bucket, faults: objstoretest.NewFaults(bucket), store: store,
		id: metadata.TopicID{1, 2, 3}, tp: metadata.TopicPartition{Topic: "orders", Partition: 7},
		now: &clock{t: time.Now()}, cfg: &settings{c: cfg},
	}
}

// broker is a Manager whose work a test does step by step; only the fetcher runs.
type broker struct {
	*world
	m   *Manager
	p   *partition
	log *fakeLog
}

func (w *world) options() Options {
	return Options{
		Bucket: w.trap.wrapBucket(w.faults), Store: w.trap.wrapStore(w.store), Prefix: "tier", ClusterID: "cluster", BrokerID: 3,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: w.now.now, ChunkBytes: format.MinChunkBytes,
	}
}

func (w *world) start(log *fakeLog, epoch int32, change ...func(*Options)) *broker {
	w.t.Helper()
	o := w.options()
	for _, c := range change {
		c(&o)
	}
	m := New(o)
	m.shape = format.Shape{Inline: 8, Page: 4} // pages of pages of pages with few segments
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.fetcher.run(ctx, 4) })
	wg.Go(func() { m.background.run(ctx, 2) })
	w.t.Cleanup(func() { cancel(); wg.Wait() })
	config := Partition{TopicID: w.id, TopicPartition: w.tp, LeaderEpoch: epoch, Config: w.cfg.get}
	p := m.newLeader(context.Background(), config, log)
	m.mu.partitions[w.tp] = p
	log.onRemoteEnd = w.checkRemoteEnd
	return &broker{w, m, p, log}
}

// attach does what the attach lane does, without the pause after a failure.
func (b *broker) attach() error {
	b.forgetFailures()
	err := b.p.attach(context.Background())
	b.p.outcome(false)
	b.p.triedOnce()
	return err
}

// all returns the whole of the current manifest, nil if none is loaded.
func (p *partition) all() *format.Manifest {
	m, err := p.wholeForReaders(context.Background())
	if err != nil {
		panic(err)
	}
	return m
}

// forgetFailures makes everything that has failed due again.
func (b *broker) forgetFailures() {
	b.p.mu.Lock()
	for _, f := range b.p.mu.failures {
		f.notBefore = time.Time{}
	}
	b.p.mu.Unlock()
	b.p.deletions.mu.Lock()
	defer b.p.deletions.mu.Unlock()
	again := func(p *progress) {
		p.notBefore = time.Time{}
		for _, f := range p.refused {
			f.notBefore = time.Time{}
		}
	}
	again(&b.p.deletions.mu.manifest)
	for _, p := range b.p.deletions.mu.pages {
		again(p)
	}
}

func (b *broker) mustAttach() {
	b.t.Helper()
	if err := b.attach(); err != nil {
		b.t.Fatalf("attach: %v", err)
	}
}

// drain does the partition's work until there is none, or it fails: first the owner's, then
// the deletions.
func (b *broker) drain() error {
	b.forgetFailures()
	for {
		more, err := b.p.step(context.Background())
		b.p.outcome(more)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	for {
		out, err := b.p.deleteStep(context.Background())
		if _, _, worst := b.p.deletions.overdue(); err == nil && worst.err != nil {
			err = worst.err
		}
		if err != nil || !out.again {
			return err
		}
	}
}

func (b *broker) mustDrain() {
	b.t.Helper()
	if err := b.drain(); err != nil {
		b.t.Fatalf("step: %v", err)
	}
}

// persist retries through failures, as the scheduler would.
func (b *broker) persist() {
	b.t.Helper()
	attached := b.p.manifest.Load() != nil
	var err error
	for range 20 {
		if !attached {
			if err = b.attach(); err != nil {
				continue
			}
			attached = true
		}
		err = b.drain()
		if errors.Is(err, errReclaim) {
			attached = false
		} else if err == nil {
			return
		}
	}
	b.t.Fatalf("still failing: %v", err)
}

// readAll reads the remote tier from an offset to its end.
func (b *broker) readAll(offset int64) []byte {
	b.t.Helper()
	var out []byte
	for end := b.p.all().EndOffset; offset < end; {
		got, _, err := b.m.read(context.Background(), b.tp, offset, 5000, 1<<60)
		if err != nil {
			b.t.Fatalf("read at %d: %v", offset, err)
		}
		next := lastOffset(b.t, got) + 1
		if len(got) == 0 || next <= offset {
			b.t.Fatalf("read at %d made no progress", offset)
		}
		out = append(out, got...)
		offset = next
	}
	return out
}

// read is Read with the result in one piece.
func (m *Manager) read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (_ []byte, held int, _ error) {
	b, err := m.Read(ctx, tp, offset, maxBytes, limit)
	if len(b.Parts) == 1 {
		return b.Parts[0], b.Held, err
	}
	return bytes.Join(b.Parts, nil), b.Held, err
}

func lastOffset(t *testing.T, batches []byte) int64 {
	t.Helper()
	last := int64(-1)
	for len(batches) > 0 {
		b, rest, err := record.Split(batches)
		if err != nil {
			t.Fatalf("split what was read: %v", err)
		}
		if err = b.Check(); err != nil {
			t.Fatalf("check what was read: %v", err)
		}
		last, batches = b.LastOffset(), rest
	}
	return last
}

// check compares all of the remote tier with the log, and the bucket with the manifest.
func (b *broker) check() {
	b.t.Helper()
	m := b.p.all()
	if got, want := b.readAll(m.StartOffset), b.log.want(m.StartOffset, m.EndOffset); !bytes.Equal(got, want) {
		b.t.Fatalf("remote tier [%d, %d) has %d bytes, the log %d, or other ones", m.StartOffset, m.EndOffset, len(got), len(want))
	}
	next := m.StartOffset
	segments, size := int64(0), int64(0)
	for s, err := range m.Tree(b.p.loadPage).SegmentsFrom(context.Background(), m.StartOffset, nil) {
		if err != nil {
			b.t.Fatal(err)
		}
		if s.StartOffset > next {
			b.t.Fatalf("segment %s starts at %d, after a gap from %d", s.Name, s.StartOffset, next)
		}
		next = s.EndOffset
		segments++
		size += s.Bytes
	}
	if m.Segments != segments || m.Bytes != size {
		b.t.Fatalf("manifest counts %d segments and %d bytes, there are %d and %d", m.Segments, m.Bytes, segments, size)
	}
	if b.log.remoteEnd > m.EndOffset {
		b.t.Fatalf("the log may delete up to %d, the tier ends at %d", b.log.remoteEnd, m.EndOffset)
	}
	if b.log.opened != 0 {
		b.t.Fatalf("%d segments are still open", b.log.opened)
	}
}

// sweepAll lets all grace periods pass and the sweeper run. It checks that the bucket then has what
// the manifest names and nothing else.
func (b *broker) sweepAll() {
	b.t.Helper()
	b.now.advance(48 * time.Hour)
	b.mustDrain()
	m := b.p.all()
	want := map[string]bool{}
	if m.Sequence > 0 {
		want[m.Name()] = true
	}
	err := m.Tree(b.p.loadPage).Walk(context.Background(), format.Visitor{
		Enter: func(r *format.PageRef) (bool, error) {
			live := r.EndOffset > m.StartOffset
			if live {
				want[r.Name] = true
			}
			return live, nil
		},
		Segment: func(s *format.Segment) error {
			if s.EndOffset > m.StartOffset {
				want[s.Name] = true
			}
			return nil
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range m.TrashPages { // they are deleted with the next manifest
		want[r.Name] = true
	}
	got := b.objects()
	for name := range want {
		if !slices.Contains(got, name) {
			b.t.Errorf("object %s is named, but not there", name)
		}
	}
	for _, name := range got {
		if !want[name] {
			b.t.Errorf("object %s is there, but not named", name)
		}
	}
}

// prefix returns the prefix of the partition's objects.
func (w *world) prefix() string { return format.PartitionPrefix("tier", w.id, w.tp.Partition) }

// object returns the content of one of the partition's objects, bypassing all faults.
func (w *world) object(name string) []byte {
	w.t.Helper()
	info, err := w.bucket.Stat(context.Background(), w.prefix()+name)
	if err != nil {
		w.t.Fatal(err)
	}
	b := make([]byte, info.Size)
	if _, err = w.bucket.GetRange(context.Background(), w.prefix()+name, 0, b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// objects returns the names of the partition's objects.
func (w *world) objects() []string {
	w.t.Helper()
	prefix := w.prefix()
	var names []string
	for info, err := range w.bucket.List(context.Background(), prefix) {
		if err != nil {
			w.t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(info.Key, prefix))
	}
	return names
}

// objectsButTrash returns the names of the partition's objects without trash pages: an emptied one
// stays until a manifest is written for another reason.
func (w *world) objectsButTrash() []string {
	w.t.Helper()
	return slices.DeleteFunc(w.objects(), func(name string) bool {
		n, _ := format.ParseName(name)
		return n.Kind == format.KindTrash
	})
}

// objectsOf returns the names of the partition's objects of a kind.
func (w *world) objectsOf(kind format.Kind) []string {
	w.t.Helper()
	return slices.DeleteFunc(w.objects(), func(name string) bool {
		n, _ := format.ParseName(name)
		return n.Kind != kind
	})
}

// committed returns the manifest that the pointer names, bypassing all faults.
func (w *world) committed() *format.Manifest {
	w.t.Helper()
	ptr, _ := w.pointer()
	if ptr.Manifest == "" {
		return &format.Manifest{}
	}
	m, err := format.ParseManifest(w.object(ptr.Manifest))
	if err != nil {
		w.t.Fatal(err)
	}
	if ptr.StartOffset != m.StartOffset || ptr.EndOffset != m.EndOffset || ptr.LogStart != m.LogStart || ptr.LastEpoch != m.LastEpoch {
		w.t.Errorf("the pointer says %+v of the manifest %+v", ptr, m)
	}
	return m
}

// pointer returns the partition's pointer and its revision, bypassing all faults.
func (w *world) pointer() (*format.Pointer, int64) {
	w.t.Helper()
	ptr, revision, err := readPointer(context.Background(), w.store, metadata.TierKey(w.id, w.tp.Partition))
	if err != nil {
		w.t.Fatal(err)
	}
	return ptr, revision
}

// checkRemoteEnd checks I3: the log may delete only what a committed manifest names.
func (w *world) checkRemoteEnd(offset int64) {
	if end := w.committed().EndOffset; offset > end {
		w.t.Errorf("the log is told to delete up to %d when the committed manifest ends at %d", offset, end)
	}
}

// trap makes the n-th request fail, before it has happened or after. Either only that one fails, or
// all that follow do too, as after the death of the process.
type trap struct {
	mu    sync.Mutex
	n     int
	after bool
	die   bool
	off   bool
	count int
}

func (t *trap) enter() (failBefore, failAfter bool) {
	if t == nil {
		return false, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	switch {
	case t.off:
	case t.count-1 == t.n:
		return !t.after, t.after
	case t.die && t.count-1 > t.n:
		return true, false
	}
	return false, false
}

// disarm ends the trap.
func (t *trap) disarm() {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.off = true
}

func (t *trap) do(class error, request func() error) error {
	before, after := t.enter()
	if before {
		return errors.Join(class, errCrash)
	}
	err := request()
	if after {
		return errors.Join(class, errCrash)
	}
	return err
}

func (t *trap) wrapBucket(b objstore.Bucket) objstore.Bucket { return &trapBucket{b, t} }

func (t *trap) wrapStore(s kv.Store) kv.Store { return &trapStore{s, t} }

type trapBucket struct {
	objstore.Bucket
	trap *trap
}

func (b *trapBucket) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) error {
	return b.trap.do(objstore.ErrUnavailable, func() error { return b.Bucket.Put(ctx, key, body, opts) })
}

func (b *trapBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (n int, err error) {
	err = b.trap.do(objstore.ErrUnavailable, func() error { n, err = b.Bucket.GetRange(ctx, key, off, p); return err })
	return n, err
}

func (b *trapBucket) Stat(ctx context.Context, key string) (info objstore.ObjectInfo, err error) {
	err = b.trap.do(objstore.ErrUnavailable, func() error { info, err = b.Bucket.Stat(ctx, key); return err })
	return info, err
}

func (b *trapBucket) List(ctx context.Context, prefix string) iter.Seq2[objstore.ObjectInfo, error] {
	if before, _ := b.trap.enter(); before {
		return func(yield func(objstore.ObjectInfo, error) bool) {
			yield(objstore.ObjectInfo{}, errors.Join(objstore.ErrUnavailable, errCrash))
		}
	}
	return b.Bucket.List(ctx, prefix)
}

func (b *trapBucket) Delete(ctx context.Context, key string) error {
	return b.trap.do(objstore.ErrUnavailable, func() error { return b.Bucket.Delete(ctx, key) })
}

func (b *trapBucket) DeleteAll(ctx context.Context, keys []string) error {
	return b.trap.do(objstore.ErrUnavailable, func() error { return b.Bucket.DeleteAll(ctx, keys) })
}

type trapStore struct {
	kv.Store
	trap *trap
}

func (s *trapStore) Get(ctx context.Context, key string) (pair kv.Pair, err error) {
	err = s.trap.do(kv.ErrUnavailable, func() error { pair, err = s.Store.Get(ctx, key); return err })
	return pair, err
}

func (s *trapStore) Txn(ctx context.Context, c []kv.Comparison, ops ...kv.Op) (revision int64, err error) {
	err = s.trap.do(kv.ErrUnavailable, func() error { revision, err = s.Store.Txn(ctx, c, ops...); return err })
	return revision, err
}

type (
	storageConfig  = storage.Config
	objstoreBucket = objstore.Bucket
	objstorePut    = objstore.PutOptions
)

func counter(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("gather: %v", err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// waitForFetches returns when no read of the object store is queued or under way.
func (b *broker) waitForFetches() {
	for _, idle := range []func() bool{b.m.chunks.idle, b.m.indexes.idle, b.m.chunks.idle} {
		for !idle() {
			runtime.Gosched()
		}
	}
}

// waiters returns the number of waiters of all reads under way.
func (c *cache[K, V]) waiters() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.mu.flights {
		n += f.ride.waiters
	}
	return n
}

// forget empties the cache, including known damage.
func (c *cache[K, V]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.shelf = newShelf[K](c.mu.shelf.limit, c.mu.shelf.cost)
	c.mu.damaged.Purge()
}

// idle reports whether no read is under way.
func (c *cache[K, V]) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.flights) == 0
}

func (f *fetcher) wantedLength() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.wanted.length
}
