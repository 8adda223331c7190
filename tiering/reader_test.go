package tiering

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/tiering/format"
)

// tiered returns a broker with all kinds of segments in the remote tier: with small batches, with
// batches of which few fit into a chunk, and with batches larger than a chunk.
func tiered(t *testing.T, change ...func(*Options)) *broker {
	t.Helper()
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 40, records: 4, valueBytes: 60})
	log.appendSegment(segmentSpec{batches: 9, records: 2, valueBytes: 700, epoch: 1})
	log.appendSegment(segmentSpec{batches: 5, records: 1, valueBytes: 3 * format.MinChunkBytes, epoch: 1})
	log.appendSegment(segmentSpec{batches: 30, records: 5, valueBytes: 50, codec: record.CodecZstd, epoch: 3})
	log.appendSegment(segmentSpec{batches: 1, records: 1, valueBytes: format.MinChunkBytes - record.HeaderSize - 18, epoch: 3})
	log.appendSegment(segmentSpec{batches: 20, records: 3, valueBytes: 100, epoch: 7})
	b := w.start(log, 7, change...)
	b.mustAttach()
	b.mustDrain()
	return b
}

func TestReadsAreByteIdenticalToTheLog(t *testing.T) {
	b := tiered(t)
	b.check()
	end := b.log.end
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Int64Range(0, end-1).Draw(t, "offset")
		limit := rapid.Int64Range(0, end+10).Draw(t, "limit")
		maxBytes := rapid.IntRange(0, 40_000).Draw(t, "max bytes")
		got, _, err := b.m.read(context.Background(), b.tp, offset, maxBytes, limit)
		if err != nil {
			t.Fatal(err)
		}
		want := b.log.want(offset, min(limit, end))
		if len(got) == 0 {
			first, _, _ := record.Split(b.log.want(offset, end))
			if first.NextOffset() <= limit {
				t.Fatalf("nothing came although the limit is %d", limit)
			}
			return
		}
		if !bytes.HasPrefix(want, got) {
			t.Fatal("bytes differ from those of the log")
		}
		first, rest, err := record.Split(got)
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) > 0 && len(got) > maxBytes {
			t.Fatalf("%d bytes in more than one batch, want at most %d", len(got), maxBytes)
		}
		for len(rest) > 0 {
			if _, rest, err = record.Split(rest); err != nil {
				t.Fatal("cut in a batch")
			}
		}
		if first.BaseOffset() > offset {
			t.Fatalf("first batch starts at %d", first.BaseOffset())
		}
	})
}

func TestReadsOutsideOfTheTier(t *testing.T) {
	b := tiered(t)
	if err := b.log.AdvanceStartOffset(b.log.segments[1].end); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	for _, offset := range []int64{-1, 0, b.log.segments[1].end - 1, b.log.end, b.log.end + 1} {
		if _, _, err := b.m.read(context.Background(), b.tp, offset, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("offset %d: %v, want ErrOffsetOutOfRange", offset, err)
		}
	}
	if _, _, err := b.m.read(context.Background(), metadata.TopicPartition{Topic: "other"}, 0, 100, 1<<60); !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("other partition: %v, want ErrUnknownPartition", err)
	}
}

// A flipped bit anywhere in the log bytes is found, and never returned.
func TestFlippedBitsAreNotReturned(t *testing.T) {
	b := tiered(t, func(o *Options) { o.ReadAheadBytes = -1 })
	chunks := b.chunksOf(b.p.all().Recent[0])
	if len(chunks) < 3 {
		t.Fatalf("there are only %d chunks", len(chunks))
	}
	for _, c := range chunks {
		at, offset := c.Position+c.BaseOffset%int64(c.StoredBytes), c.BaseOffset
		b.m.chunks.forget()
		b.m.objects.bucket = &flippingBucket{objstoreBucket: b.faults, at: at}
		if _, _, err := b.m.read(context.Background(), b.tp, offset, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
			t.Errorf("flip at %d, read of offset %d: %v, want ErrCorrupt", at, offset, err)
		}
	}
	// Damage in transit is repaired by a second read, without an error.
	b.m.chunks.forget()
	once := &flippingBucket{objstoreBucket: b.faults, at: 5, times: 1}
	b.m.objects.bucket = once
	got, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60)
	if err != nil || !bytes.HasPrefix(b.log.want(0, b.log.end), got) {
		t.Errorf("flip in transit: %v", err)
	}
	if once.hits != 1 {
		t.Errorf("the flip hit %d times, want 1", once.hits)
	}
}

// Damage of one chunk of a request is found, and the other chunks are delivered.
func TestDamageOfOneChunkOfARequest(t *testing.T) {
	b := tiered(t)
	chunks := b.chunksOf(b.p.all().Recent[0])
	damaged := &chunks[2]
	b.m.objects.bucket = &flippingBucket{objstoreBucket: b.faults, at: damaged.Position + 70}
	requests := counter(t, b.m.metrics.fetches.WithLabelValues("chunk"))
	segment, err := b.p.open(t.Context(), &b.p.all().Recent[0])
	if err != nil {
		t.Fatal(err)
	}
	run := segment.chunkRun(1, 1<<20)
	if len(run.keys) < 3 {
		t.Fatalf("only %d chunks come with one request", len(run.keys))
	}
	if n := b.m.chunks.fetchAhead(t.Context(), run); n != len(run.keys) {
		t.Fatalf("%d of %d chunks are read ahead", n, len(run.keys))
	}
	b.waitForFetches()
	if n := counter(t, b.m.metrics.fetches.WithLabelValues("chunk")) - requests; n != 3 {
		t.Errorf("%v requests, want one of all, and two of the one that is damaged", n)
	}
	for i := 1; i < 1+len(run.keys); i++ {
		_, _, err := b.m.read(t.Context(), b.tp, chunks[i].BaseOffset, 1, 1<<60)
		if damage := errors.Is(err, ErrCorrupt); damage != (i == 2) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
}

// chunksOf returns the chunks of a segment.
func (b *broker) chunksOf(s format.Segment) format.Directory {
	b.t.Helper()
	r, err := b.p.open(b.t.Context(), &s)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.index.Chunks
}

// flippingBucket flips a bit in every read across a position of the log bytes.
type flippingBucket struct {
	objstoreBucket
	at    int64
	times int // 0: always
	hits  int
}

func (b *flippingBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	n, err := b.objstoreBucket.GetRange(ctx, key, off, p)
	if b.at >= off && b.at < off+int64(n) && (b.times == 0 || b.hits < b.times) {
		p[b.at-off] ^= 4
		b.hits++
	}
	return n, err
}

// It is not enough that an object is whole and sound: it must be the right one.
func TestObjectOfAnotherSegmentIsCorrupt(t *testing.T) {
	b := tiered(t)
	entries := b.p.all().Recent
	other := make([]byte, entries[1].ObjectBytes)
	if _, err := b.bucket.GetRange(t.Context(), b.p.prefix+entries[1].Name, 0, other); err != nil {
		t.Fatal(err)
	}
	// The manifest expects an object of this size.
	m := *b.p.all()
	m.Recent = slices.Clone(m.Recent)
	m.Recent[0].Bytes, m.Recent[0].ObjectBytes = entries[1].Bytes, entries[1].ObjectBytes
	m.Recent[0].HotBytes, m.Recent[0].CRC32C = entries[1].HotBytes, entries[1].CRC32C
	b.p.manifest.Store(&m)
	if err := b.bucket.Put(t.Context(), b.p.prefix+entries[0].Name, bytes.NewReader(other), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.m.read(t.Context(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read: %v, want ErrCorrupt", err)
	}
}

func TestMissingObjectIsCorrupt(t *testing.T) {
	b := tiered(t)
	if err := b.bucket.Delete(context.Background(), b.p.prefix+b.p.all().Recent[0].Name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnavailable) {
		t.Fatalf("read: %v, want ErrCorrupt", err)
	}
}

func TestOutageIsUnavailable(t *testing.T) {
	b := tiered(t)
	remove := b.faults.Add(objstoretest.Fault{})
	if _, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt) {
		t.Fatalf("read: %v, want ErrUnavailable", err)
	}
	remove()
	if _, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60); err != nil {
		t.Fatalf("read after the outage: %v", err)
	}
}

// However many readers ask for the same chunk at once, it is requested once.
func TestReadsOfOneChunkAreOneRequest(t *testing.T) {
	b := tiered(t, func(o *Options) { o.ReadAheadBytes = -1 })
	gate := &gateBucket{objstoreBucket: b.faults, open: make(chan struct{}), entered: make(chan struct{}, 100)}
	b.m.objects.bucket = gate
	before := b.faults.Calls(objstoretest.GetOp)
	var wg sync.WaitGroup
	impatient, leave := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() {
		defer close(left)
		if _, _, err := b.m.read(impatient, b.tp, 0, 100, 1<<60); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("read of the one that leaves: %v", err)
		}
	}()
	<-gate.entered
	for range 50 {
		wg.Go(func() {
			if _, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60); err != nil {
				t.Errorf("read: %v", err)
			}
		})
	}
	for b.m.indexes.waiters() < 51 {
		runtime.Gosched()
	}
	// The reader that started the read leaves; the others still get their bytes.
	leave()
	<-left
	close(gate.open)
	wg.Wait()
	if n := b.faults.Calls(objstoretest.GetOp) - before; n != 2 {
		t.Errorf("%d GETs, want one of the index and one of the chunk", n)
	}
}

// A read for which no reader waits any more when its turn comes is not done.
func TestAbandonedReadsAreDropped(t *testing.T) {
	f := newFetcher(time.Minute, newMetrics(nil).fetchQueue, 0, 0)
	c := newCache[string]("test", f, 100, func(int) int64 { return 1 }, newMetrics(nil))
	c.ahead = 1 << 20
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f.run(ctx, 1) })
	defer func() { cancel(); wg.Wait() }()

	open, first := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		defer close(first)
		_, err := c.get(context.Background(), "first", func(context.Context) (int, error) { <-open; return 1, nil })
		if err != nil {
			t.Error(err)
		}
	})
	for c.waiters() < 1 {
		runtime.Gosched()
	}
	gone, leave := context.WithCancel(context.Background())
	leave()
	if _, err := c.get(gone, "second", func(context.Context) (int, error) { t.Error("read for nobody"); return 2, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(open)
	// Later readers are served.
	if v, err := c.get(context.Background(), "third", func(context.Context) (int, error) { return 3, nil }); v != 3 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	<-first // before the fetcher stops
	// A read that was queued for later moves up when a reader needs it now.
	block, blocked := make(chan struct{}), make(chan struct{})
	c.fetchAhead(ctx, single("block", func(context.Context) (int, error) { close(blocked); <-block; return 0, nil }))
	<-blocked
	var order []string
	note := func(name string) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { order = append(order, name); return 0, nil }
	}
	for _, name := range []string{"a", "b"} {
		large := single(name, note(name))
		large.small = false
		if c.fetchAhead(ctx, large) != 1 {
			t.Errorf("%s was not queued", name)
		}
	}
	wanted := make(chan struct{})
	wg.Go(func() {
		defer close(wanted)
		if _, err := c.get(context.Background(), "b", note("b")); err != nil {
			t.Error(err)
		}
	})
	for f.wantedLength() < 1 {
		runtime.Gosched()
	}
	close(block)
	for !c.idle() {
		runtime.Gosched()
	}
	<-wanted
	if !slices.Equal(order, []string{"b", "a"}) {
		t.Errorf("reads were %q, want b first and each once", order)
	}
}

// gateBucket holds reads back until it is opened.
type gateBucket struct {
	objstoreBucket
	open, entered chan struct{}
}

func (b *gateBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	b.entered <- struct{}{}
	select {
	case <-b.open:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return b.objstoreBucket.GetRange(ctx, key, off, p)
}

// A sequential reader finds the next chunks in the cache, also across the boundary of a segment. A
// reader that jumps does not cause any read-ahead.
func TestReadAheadIsForSequentialReaders(t *testing.T) {
	b := tiered(t)
	before := counter(t, b.m.metrics.fetchedBytes)
	for _, offset := range []int64{150, 20, 80, 5} {
		if _, _, err := b.m.read(context.Background(), b.tp, offset, 100, 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	if n := counter(t, b.m.metrics.readAhead); n != 0 {
		t.Fatalf("%v chunks were read ahead of random reads", n)
	}
	b.readAll(0)
	if n := counter(t, b.m.metrics.readAhead); n < 5 {
		t.Errorf("%v chunks were read ahead of a sequential reader", n)
	}
	// All chunks of all segments and each index are read once, and with fewer requests.
	chunks, want := 0, int64(0)
	for _, s := range b.p.all().Recent {
		want += s.HotBytes
		for _, c := range b.chunksOf(s) {
			chunks++
			want += int64(c.StoredBytes)
		}
	}
	if got := counter(t, b.m.metrics.fetchedBytes) - before; got != float64(want) {
		t.Errorf("%v bytes were read, there are %d", got, want)
	}
	if n := counter(t, b.m.metrics.fetches.WithLabelValues("chunk")); n > float64(chunks)/2 {
		t.Errorf("%v requests for %d chunks", n, chunks)
	}
}

func TestReadAheadCrossesSegments(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	for range 6 {
		log.appendSegment(segmentSpec{batches: 2, records: 1, valueBytes: 100})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	for offset := range int64(4) {
		if _, _, err := b.m.read(context.Background(), b.tp, offset, 1, 1<<60); err != nil {
			t.Fatal(err)
		}
		b.waitForFetches()
	}
	next := b.p.all().Recent[2]
	if _, ok := b.m.chunks.peek(chunkKey{b.p.prefix + next.Name, 0}); !ok {
		t.Error("the first chunk of the next segment is not in the cache")
	}
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	b := tiered(t, func(o *Options) { o.CacheBytes = 3 * format.MinChunkBytes })
	b.check()
	b.waitForFetches()
	total := int64(0)
	shelf := b.m.chunks.mu.shelf
	for _, class := range shelf.classes {
		for _, k := range class.Values() {
			total += int64(cap(k.value))
		}
	}
	if total > 3*format.MinChunkBytes || total != shelf.bytes || total == 0 {
		t.Errorf("cache holds %d bytes and counts %d, limit %d", total, shelf.bytes, 3*format.MinChunkBytes)
	}
}

func TestOneValueIsKeptHoweverLarge(t *testing.T) {
	b := tiered(t, func(o *Options) { o.CacheBytes, o.IndexCacheBytes, o.ReadAheadBytes = 1, 1, -1 })
	before := b.faults.Calls(objstoretest.GetOp)
	for range 5 {
		if _, _, err := b.m.read(t.Context(), b.tp, 0, 100, 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.faults.Calls(objstoretest.GetOp) - before; n != 2 {
		t.Errorf("%d GETs for the same chunk, want 2", n)
	}
}

// TestReadWaitsForTheFirstAttachOnly: after one failed attempt reads fail at once instead of
// waiting for the next.
func TestReadWaitsForTheFirstAttachOnly(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 2)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()

	b = w.start(log.restarted(), 2)
	got := make(chan error)
	go func() {
		_, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60)
		got <- err
	}()
	b.mustAttach()
	if err := <-got; err != nil {
		t.Errorf("read that waited: %v", err)
	}

	b = w.start(log.restarted(), 3)
	remove := w.faults.Add(objstoretest.Fault{})
	go func() {
		_, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60)
		got <- err
	}()
	if err := b.attach(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("attach: %v, want ErrUnavailable", err)
	}
	if err := <-got; !errors.Is(err, ErrUnavailable) {
		t.Errorf("read: %v, want ErrUnavailable", err)
	}
	remove()
	b.persist()
	b.check()
}

func TestDamagedManifestIsSaid(t *testing.T) {
	b := tiered(t)
	name := b.p.all().Name()
	if err := b.bucket.Put(context.Background(), b.p.prefix+name, bytes.NewReader([]byte("nonsense")), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	b = b.start(b.log.restarted(), 9)
	if err := b.attach(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("attach: %v, want ErrCorrupt", err)
	}
	if _, _, err := b.m.read(context.Background(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnavailable) {
		t.Errorf("read: %v, want ErrCorrupt", err)
	}
	if b.log.remoteEnd != -1 {
		t.Error("the log was told that it may delete")
	}
}

// It is not enough that a manifest is whole and sound: it must be the one that was committed.
func TestOtherManifestOfTheNameIsCorrupt(t *testing.T) {
	b := tiered(t)
	name := b.p.all().Name()
	other := bytes.Replace(b.object(name), []byte(`"topic":"orders"`), []byte(`"topic":"sredro"`), 1)
	body := other[bytes.IndexByte(other, '\n')+1:]
	other, err := format.DocumentManifest.Wrap(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = format.ParseManifest(other); err != nil {
		t.Fatal(err)
	}
	if err = b.bucket.Put(t.Context(), b.p.prefix+name, bytes.NewReader(other), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	b = b.start(b.log.restarted(), 9)
	if err = b.attach(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("attach: %v, want ErrCorrupt", err)
	}
}

func TestEndOffsetForEpoch(t *testing.T) {
	b := tiered(t)
	segs := b.log.segments
	for _, c := range []struct {
		epoch, found int32
		end          int64
	}{
		{0, 0, segs[0].end}, {1, 1, segs[2].end}, {2, 1, segs[2].end}, {3, 3, segs[4].end}, {6, 3, segs[4].end}, {7, 7, segs[5].end}, {99, 7, segs[5].end}, {-1, -1, -1},
	} {
		found, end, err := b.m.EndOffsetForEpoch(context.Background(), b.tp, c.epoch)
		if err != nil || found != c.found || end != c.end {
			t.Errorf("epoch %d ends at (%d, %d), %v; want (%d, %d)", c.epoch, found, end, err, c.found, c.end)
		}
	}
}

func TestEpochThatChangesWithinASegment(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 4})
	log.appendSegment(segmentSpec{batches: 4, epoch: 2})
	log.appendSegment(segmentSpec{batches: 4, epoch: 5})
	log.resegment(6)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	for _, c := range [][3]int64{{0, 0, 4}, {1, 0, 4}, {2, 2, 8}, {4, 2, 8}, {5, 5, 12}} {
		found, end, err := b.m.EndOffsetForEpoch(context.Background(), b.tp, int32(c[0]))
		if err != nil || int64(found) != c[1] || end != c[2] {
			t.Errorf("epoch %d ends at (%d, %d), %v; want %v", c[0], found, end, err, c[1:])
		}
	}
}

func TestEpochLookUpThroughPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	for i := range 60 {
		log.appendSegment(segmentSpec{batches: 1, epoch: int32(i / 3 * 2)})
	}
	b := w.start(log, 400)
	b.mustAttach()
	b.mustDrain()
	if len(b.p.all().Pages) == 0 {
		t.Fatal("no page was sealed")
	}
	for epoch := range int32(40) {
		wantEpoch, wantEnd := epoch/2*2, int64(epoch/2*3+3)
		found, end, err := b.m.EndOffsetForEpoch(context.Background(), b.tp, epoch)
		if err != nil || found != wantEpoch || end != wantEnd {
			t.Errorf("epoch %d ends at (%d, %d), %v; want (%d, %d)", epoch, found, end, err, wantEpoch, wantEnd)
		}
	}
	b.check()
	b.sweepAll()
}

// An entry may be a segment in the middle of an object: the bytes before and after it are not its
// own.
func TestSegmentInTheMiddleOfAnObject(t *testing.T) {
	b := tiered(t)
	m := *b.p.all()
	m.Recent = slices.Clone(m.Recent)
	var packed []byte
	for i := range m.Recent {
		s := &m.Recent[i]
		content := b.object(s.Name)
		s.At, s.Name = int64(len(packed)), m.Recent[0].Name
		packed = append(packed, content...)
	}
	if err := b.bucket.Put(t.Context(), b.p.prefix+m.Recent[0].Name, bytes.NewReader(packed), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	b.p.manifest.Store(&m)
	b.check()
	content, _, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = format.ParseManifest(content); err != nil {
		t.Errorf("the manifest is refused: %v", err)
	}
	if found, ok, err := b.m.OffsetForTimestamp(t.Context(), b.tp, 1000+b.log.segments[4].base, 1<<60); err != nil || !ok || found.Offset != b.log.segments[4].base {
		t.Errorf("a time is at %+v, %t, %v", found, ok, err)
	}
}

// An entry may end before its segment does, because its history was cut. Nothing after the cut is
// read.
func TestSegmentThatIsCut(t *testing.T) {
	b := tiered(t, func(o *Options) { o.ReadAheadBytes = -1 })
	m := *b.p.all()
	last := b.log.segments[len(b.log.segments)-1]
	cut := last.base + 3*3 // its first batches
	m.Recent = slices.Clone(m.Recent)
	m.EndOffset, m.Recent[len(m.Recent)-1].EndOffset = cut, cut
	b.p.manifest.Store(&m)
	for offset := last.base; offset < cut; {
		got, _, err := b.m.read(t.Context(), b.tp, offset, 1<<20, 1<<60)
		if err != nil || len(got) == 0 {
			t.Fatalf("read at %d: %d bytes, %v", offset, len(got), err)
		}
		if offset = lastOffset(t, got) + 1; offset > cut {
			t.Fatalf("a read reaches to %d, the cut is at %d", offset, cut)
		}
	}
	if _, ok, err := b.m.OffsetForTimestamp(t.Context(), b.tp, 1000+cut, 1<<60); err != nil || ok {
		t.Errorf("a time behind the cut: %t, %v", ok, err)
	}
	if _, _, err := b.m.read(t.Context(), b.tp, cut, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read at the cut: %v, want ErrOffsetOutOfRange", err)
	}
}

// A look-up by time reads the directory and the one chunk that has the record.
func TestTimeLookUpReadsOneChunk(t *testing.T) {
	b := tiered(t, func(o *Options) { o.ReadAheadBytes = -1 })
	before := b.faults.Calls(objstoretest.GetOp)
	offset := b.log.segments[3].end - 2
	if found, ok, err := b.m.OffsetForTimestamp(t.Context(), b.tp, 1000+offset, 1<<60); err != nil || !ok || found.Offset != offset {
		t.Errorf("the time is at %+v, %t, %v; want %d", found, ok, err, offset)
	}
	if n := b.faults.Calls(objstoretest.GetOp) - before; n != 2 {
		t.Errorf("%d GETs, want one of the directory and one of a chunk", n)
	}
}
