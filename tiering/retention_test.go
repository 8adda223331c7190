package tiering

import (
	"errors"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// aged returns a tier of ten segments whose records are one minute apart, the newest one minute
// old.
func aged(t *testing.T) *broker {
	t.Helper()
	w := newWorld(t)
	log := newFakeLog(t)
	newest := w.now.now().UnixMilli()
	for range 10 {
		log.appendSegment(segmentSpec{batches: 2, records: 3, valueBytes: 500, timestamp: func(offset int64) int64 { return newest - (60-offset)*60_000 }})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	return b
}

func TestRetentionByTime(t *testing.T) {
	b := aged(t)
	before := len(b.objects())
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = 30*60_000 + 1 })
	b.mustDrain()
	// The record at offset 30 is 30 minutes old and begins a segment of six records.
	m := b.p.all()
	if m.StartOffset != 30 || m.Segments != 5 {
		t.Fatalf("tier starts at %d with %d segments, want 30 and 5", m.StartOffset, m.Segments)
	}
	if b.log.start != 30 {
		t.Errorf("log start is %d, want 30", b.log.start)
	}
	// Readers that have the old manifest are served until the grace period is over.
	if got := len(b.objects()); got != before+1 {
		t.Errorf("%d objects, want %d and one manifest: nothing is deleted yet", got, before)
	}
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = -1 })
	b.mustDrain()
	if segments, manifests := b.objectsOf(format.KindSegment), b.objectsOf(format.KindManifest); len(segments) != 5 || len(manifests) != 1 {
		t.Errorf("left are %q and %q, want 5 segments and a manifest", segments, manifests)
	}
	b.check()
	b.sweepAll()
}

// retention.bytes counts both tiers, including what is only local.
func TestRetentionBySize(t *testing.T) {
	b := aged(t)
	size := b.p.all().Recent[0].Bytes
	b.cfg.set(func(c *storageConfig) { c.RetentionBytes, c.RemoteCopyDisable = 10*size, true })
	b.mustDrain()
	if m := b.p.all(); m.Segments != 10 {
		t.Fatalf("%d segments are left, want all 10", m.Segments)
	}
	b.log.appendSegment(segmentSpec{batches: 2, records: 3, valueBytes: 500})
	b.log.appendSegment(segmentSpec{batches: 2, records: 3, valueBytes: 500})
	b.mustDrain()
	// Like in Kafka, a segment expires if what is left without it is still enough.
	m := b.p.all()
	if left := m.Bytes + b.log.SizeFrom(m.EndOffset); left < 10*size || left-m.Recent[0].Bytes >= 10*size {
		t.Fatalf("%d bytes in %d segments are left of %d", left, m.Segments, 10*size)
	}
	b.cfg.set(func(c *storageConfig) { c.RetentionBytes = 0 })
	b.mustDrain()
	if m := b.p.all(); m.Segments != 0 || m.StartOffset != 60 || m.EndOffset != 60 || b.log.start != 60 {
		t.Fatalf("tier is [%d, %d), log start %d", m.StartOffset, m.EndOffset, b.log.start)
	}
	// Uploads continue from there.
	b.cfg.set(func(c *storageConfig) { c.RetentionBytes, c.RemoteCopyDisable = -1, false })
	b.mustDrain()
	if m := b.p.all(); m.Segments != 2 || m.EndOffset != b.log.end {
		t.Fatalf("tier is [%d, %d) with %d segments", m.StartOffset, m.EndOffset, m.Segments)
	}
	b.check()
	b.sweepAll()
}

func TestWithoutDeletePolicyOnlyTheLogStartCounts(t *testing.T) {
	b := aged(t)
	b.cfg.set(func(c *storageConfig) { c.RetentionMs, c.RetentionBytes, c.CleanupDelete = 0, 0, false })
	b.mustDrain()
	if m := b.p.all(); m.Segments != 10 {
		t.Fatalf("%d segments are left, want 10", m.Segments)
	}
	if err := b.log.AdvanceStartOffset(13); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := b.p.all(); m.StartOffset != 12 || m.Segments != 8 {
		t.Fatalf("tier starts at %d with %d segments, want 12 and 8", m.StartOffset, m.Segments)
	}
	b.check()
}

// A reader that found the segment before it expired is served again from the manifest that has
// replaced the old one.
func TestReaderThatComesTooLateIsToldTheRange(t *testing.T) {
	b := aged(t)
	old := b.p.all()
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = 0 })
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	current := b.p.all()
	b.p.manifest.Store(old)
	b.m.objects.bucket = &swappingBucket{objstoreBucket: b.faults, swap: func() { b.p.manifest.Store(current) }}
	if _, _, err := b.m.read(t.Context(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("read: %v, want ErrOffsetOutOfRange", err)
	}
}

// Thousands of segments expire at once through their pages.
func TestExpiryOfALongHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	for range 60 {
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	// First in the middle of a sealed page, then past it.
	for _, start := range []int64{10, 33, 59} {
		if err := log.AdvanceStartOffset(start); err != nil {
			t.Fatal(err)
		}
		b.mustDrain()
		if m := b.p.all(); m.StartOffset != start || m.Segments != 60-start {
			t.Fatalf("tier starts at %d with %d segments, want %d", m.StartOffset, m.Segments, start)
		}
		b.check()
		b.now.advance(2 * time.Minute)
		b.mustDrain()
	}
	b.sweepAll()
}

func TestDeletionThatFailsIsTriedAgain(t *testing.T) {
	b := aged(t)
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = 0 })
	b.mustDrain()
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = -1 })
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Skip: 3, Times: 1})
	if err := b.drain(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("step: %v, want ErrUnavailable", err)
	}
	b.mustDrain()
	if segments, manifests := b.objectsOf(format.KindSegment), b.objectsOf(format.KindManifest); len(segments) != 0 || len(manifests) != 1 {
		t.Errorf("left are %q and %q, want a manifest", segments, manifests)
	}
}

// Uploads continue when retention cannot.
func TestDamagedPageDoesNotStopUploads(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	for range 30 {
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	ref := b.p.all().Pages[0]
	b = w.start(log, 2) // one that has not read the page yet
	b.mustAttach()
	if err := b.bucket.Delete(t.Context(), b.p.prefix+ref.Name); err != nil {
		t.Fatal(err)
	}
	if err := log.AdvanceStartOffset(3); err != nil {
		t.Fatal(err)
	}
	log.appendSegment(segmentSpec{batches: 1})
	if err := b.drain(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("step: %v, want ErrCorrupt", err)
	}
	if got := b.p.all().EndOffset; got != 31 {
		t.Errorf("tier ends at %d, want 31", got)
	}
}

// Until the oldest segment may expire, retention makes no request, however long the history is.
func TestRetentionReadsNoPageBeforeItMust(t *testing.T) {
	t.Parallel()
	b := longTier(t)
	b = b.start(b.log.restarted(), 6) // one that has not read any page
	b.mustAttach()
	pages := func() float64 { return counter(t, b.m.metrics.fetches.WithLabelValues("page")) }
	newest := int64(1000 + 59)
	for _, change := range []func(c *storageConfig){
		func(c *storageConfig) { c.RetentionMs = -1 },
		func(c *storageConfig) { c.RetentionMs = b.now.now().UnixMilli() - 1000 + 1 },
		func(c *storageConfig) { c.RetentionBytes = 1 << 40 },
	} {
		b.cfg.set(change)
		b.mustDrain()
	}
	if n := pages(); n != 0 {
		t.Errorf("%v pages are read, nothing expires", n)
	}
	b.cfg.set(func(c *storageConfig) { c.RetentionMs = b.now.now().UnixMilli() - newest + 30 })
	b.mustDrain()
	if m := b.p.all(); m.StartOffset != 30 || pages() == 0 {
		t.Errorf("tier starts at %d after %v pages were read, want 30", m.StartOffset, pages())
	}
	b.check()
}

// The manifest has the exact log start, and gets it without another reason for a commit: records
// that DeleteRecords has deleted must not come back with the bucket.
func TestLogStartIsCommitted(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	within := log.segments[1].base + 2
	if err := log.AdvanceStartOffset(within); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := w.committed(); m.LogStart != within || m.StartOffset != log.segments[1].base {
		t.Errorf("log start %d in a tier from %d on, want %d and %d", m.LogStart, m.StartOffset, within, log.segments[1].base)
	}
	if err := log.AdvanceStartOffset(within + 1); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := w.committed(); m.LogStart != within {
		t.Errorf("log start %d is committed at once", m.LogStart)
	}
	w.now.advance(logStartDelay)
	b.mustDrain()
	if m := w.committed(); m.LogStart != within+1 {
		t.Errorf("log start is %d, want %d", m.LogStart, within+1)
	}
	sequence := w.committed().Sequence
	w.now.advance(logStartDelay)
	b.mustDrain()
	if m := w.committed(); m.Sequence != sequence {
		t.Error("a manifest is written although nothing has changed")
	}
	// A leader that does not know the log start learns it.
	next := log.restarted()
	next.start = 0
	b = w.start(next, 2)
	b.mustAttach()
	b.mustDrain()
	if next.start != within+1 {
		t.Errorf("the next leader's log starts at %d, want %d", next.start, within+1)
	}
	// After the tier's end only the log knows its start.
	fill(next, 1)
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = true })
	if err := next.AdvanceStartOffset(next.end); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := w.committed(); m.LogStart != m.EndOffset || m.EndOffset == next.end {
		t.Errorf("log start %d in a tier that ends at %d", m.LogStart, m.EndOffset)
	}
	b.check()
}
