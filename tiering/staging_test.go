package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// keyAt returns what the keys of segment objects from an offset on contain.
func keyAt(offset int64) string { return fmt.Sprintf("/%020d-", offset) }

// puts counts the uploads of segments and manifests, and how many segments are uploaded at a time.
type puts struct {
	objstoreBucket
	took time.Duration // of each segment

	mu                  sync.Mutex
	segments, manifests int
	now, most           int
	bySegment           map[int64]int // by the offsets at which they start
}

func (b *puts) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstorePut) error {
	name, _ := format.ParseName(key[strings.LastIndex(strings.TrimSuffix(key, "/"), "/")+1:])
	if name.Kind != format.KindSegment {
		b.mu.Lock()
		if strings.Contains(key, "manifest/") {
			b.manifests++
		}
		b.mu.Unlock()
		return b.objstoreBucket.Put(ctx, key, body, opts)
	}
	b.mu.Lock()
	b.segments++
	if b.bySegment == nil {
		b.bySegment = map[int64]int{}
	}
	b.bySegment[name.StartOffset]++
	b.now++
	b.most = max(b.most, b.now)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.now--
		b.mu.Unlock()
	}()
	select {
	case <-time.After(b.took):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return b.objstoreBucket.Put(ctx, key, body, opts)
}

// TestSegmentsGoUpSideBySide: one partition has all streams, and one manifest commits what they
// have uploaded.
func TestSegmentsGoUpSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := &puts{objstoreBucket: w.faults, took: time.Second}
		m := running(t, w, func(o *Options) { o.Bucket, o.UploadConcurrency = b, 4 })
		log := newFakeLog(t)
		fill(log, 8)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if s, _ := m.Status(tp); s.EndOffset != log.end || s.LagSegments != 0 {
			t.Errorf("after 2 s the tier ends at %d of %d: %+v", s.EndOffset, log.end, s)
		}
		if b.most != 4 || b.manifests != 2 || b.segments != 8 {
			t.Errorf("%d segments, %d at a time, %d manifests; want 8, 4 and 2", b.segments, b.most, b.manifests)
		}
		got, err := m.Read(t.Context(), tp, 0, 1<<20, 1<<60)
		if err != nil || got.Len() == 0 {
			t.Errorf("read: %d bytes, %v", got.Len(), err)
		}
	})
}

// TestStreamsAreSharedByPartitions: the broker has one bound, and a second partition waits for no
// more than one upload of the first.
func TestStreamsAreSharedByPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := &puts{objstoreBucket: w.faults, took: time.Second}
		m := running(t, w, func(o *Options) { o.Bucket, o.UploadConcurrency = b, 3 })
		long, short := newFakeLog(t), newFakeLog(t)
		fill(long, 60)
		fill(short, 1)
		w.attachTo(m, long, 0, 1)
		synctest.Wait() // it has all streams
		tp := w.attachTo(m, short, 1, 1)
		time.Sleep(2 * time.Second) // one upload of the long one, and its own
		synctest.Wait()
		if s, _ := m.Status(tp); s.EndOffset != short.end {
			t.Errorf("the short one ends at %d of %d after 2 s", s.EndOffset, short.end)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.most != 3 || b.segments != 61 {
			t.Errorf("%d segments, %d at a time, want 61 and 3", b.segments, b.most)
		}
		if m.streams.mu.free != 3 {
			t.Errorf("%d streams are free, want 3", m.streams.mu.free)
		}
	})
}

// TestWhatIsBehindAFailedUploadStaysStaged: what precedes the failed segment is committed, and what
// follows it is uploaded once.
func TestWhatIsBehindAFailedUploadStaysStaged(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 4)
	counting := &puts{objstoreBucket: w.faults}
	b := w.start(log, 1, func(o *Options) { o.Bucket, o.UploadConcurrency = counting, 4 })
	b.mustAttach()
	second := log.segments[1]
	heal := w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: keyAt(second.base)})
	for range 3 {
		if err := b.drain(); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("step: %v, want ErrUnavailable", err)
		}
		if end := w.committed().EndOffset; end != second.base || log.remoteEnd != end {
			t.Fatalf("committed is %d, the log was told %d, want %d", end, log.remoteEnd, second.base)
		}
	}
	if s, _ := b.m.Status(w.tp); s.LagSegments != 3 {
		t.Errorf("%d segments wait, want 3", s.LagSegments)
	}
	w.now.advance(48 * time.Hour) // a sweep leaves what is staged
	if err := b.drain(); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	heal()
	b.mustDrain()
	b.check()
	for i, want := range []int{1, 5, 1, 1} {
		if n := counting.bySegment[log.segments[i].base]; n != want {
			t.Errorf("segment %d went up %d times, want %d", i, n, want)
		}
	}
	if counting.manifests != 2 {
		t.Errorf("%d manifests, want 2", counting.manifests)
	}
	b.sweepAll()
}

// TestStagedBehindTheLogStartIsAnOrphan: DeleteRecords has deleted what was staged.
func TestStagedBehindTheLogStartIsAnOrphan(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1, func(o *Options) { o.UploadConcurrency = 3 })
	b.mustAttach()
	heal := w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: keyAt(0)})
	if err := b.drain(); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	if n := len(w.objectsOf(format.KindSegment)); n != 2 {
		t.Fatalf("%d segments are in the bucket, want 2", n)
	}
	heal()
	fill(log, 1)
	if err := log.AdvanceStartOffset(log.segments[2].base); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := b.p.all(); m.StartOffset != log.segments[2].base || m.EndOffset != log.end || m.Segments != 2 {
		t.Errorf("the tier is [%d, %d), %d segments", m.StartOffset, m.EndOffset, m.Segments)
	}
	b.sweepAll()
}

// TestCrashWithSeveralStaged: an upload fails while later ones succeed, and any request before or
// after that is the last one of the broker. What it has staged are orphans to the next broker.
func TestCrashWithSeveralStaged(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for n, sprung := 0, true; sprung; n++ {
			sprung = false // and stays so where the run is skipped
			t.Run(fmt.Sprintf("request=%d/after=%t", n, after), func(t *testing.T) {
				w := newWorld(t)
				trap := &trap{n: n, after: after, die: true}
				w.trap = trap
				log := newFakeLog(t)
				b := w.start(log, 1, func(o *Options) { o.UploadConcurrency = 3 })
				if b.attach() == nil {
					fill(log, 5)
					heal := w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: keyAt(log.segments[1].base)})
					_ = b.drain()
					_ = b.drain()
					heal()
					_ = b.drain()
				}
				sprung = trap.count > n
				w.trap = nil
				next := w.start(log.restarted(), 2)
				if len(log.segments) == 0 {
					fill(next.log, 5)
				}
				next.persist()
				trap.disarm()
				if m := next.p.all(); m.EndOffset != next.log.end || m.Segments != 5 {
					t.Errorf("the tier ends at %d with %d segments, want %d and 5", m.EndOffset, m.Segments, next.log.end)
				}
				next.check()
				next.sweepAll()
			})
			if !sprung && n < 20 {
				t.Errorf("only %d requests were tried", n)
			}
		}
	}
}
