package tiering

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// longTier returns a tier of 60 segments of one record each, with pages of pages.
func longTier(t *testing.T) *broker {
	t.Helper()
	w := newWorld(t)
	log := newFakeLog(t)
	for range 60 {
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	if m := b.p.all(); len(m.Pages) == 0 || m.Pages[0].Level == 0 || len(m.TrashPages) == 0 {
		t.Fatalf("there are no pages of pages: %+v", m)
	}
	return b
}

// live returns the names of segments from an offset on.
func (b *broker) live(from int64) []string {
	b.t.Helper()
	return slices.DeleteFunc(b.objectsOf(format.KindSegment), func(name string) bool {
		n, _ := format.ParseName(name)
		return n.StartOffset < from
	})
}

// Readers of what has just expired have the grace period, even if a sweep runs in between: what an
// expired page names is no orphan.
func TestSweepLeavesWhatHasJustExpired(t *testing.T) {
	t.Parallel()
	b := longTier(t)
	b.now.advance(3 * time.Hour)
	b.mustDrain()
	if err := b.log.AdvanceStartOffset(40); err != nil {
		t.Fatal(err)
	}
	b.p.chores.nextSweep = time.Time{}
	b.mustDrain()
	if m := b.committed(); m.StartOffset != 40 {
		t.Fatalf("tier starts at %d", m.StartOffset)
	}
	if got := len(b.live(0)); got != 60 {
		t.Errorf("%d segments are left before the grace is over, want 60", got)
	}
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	if got := len(b.live(0)); got != 20 {
		t.Errorf("%d segments are left, want 20", got)
	}
	b.sweepAll()
}

// An orphan in a range whose page is already deleted does not end the sweeps.
func TestOrphanBelowADeletedPage(t *testing.T) {
	t.Parallel()
	b := longTier(t)
	if err := b.log.AdvanceStartOffset(10); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	orphan := b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 5, Attempt: "dead"}.String()
	b.put(orphan)
	b = b.start(b.log.restarted(), 6) // one that has not read the page
	b.mustAttach()
	b.mustDrain() // it does not know that the page is deleted
	b.sweepAll()
	if _, err := b.bucket.Stat(t.Context(), orphan); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("the orphan is there: %v", err)
	}
}

// Objects that cannot be deleted stop nothing else: retention continues, the others are deleted,
// and the manifest stays small.
func TestTrashThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	b := w.start(log, 1)
	b.mustAttach()
	release := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp})
	for range 100 {
		log.appendSegment(segmentSpec{batches: 1})
		if err := log.AdvanceStartOffset(max(0, log.end-3)); err != nil {
			t.Fatal(err)
		}
		w.now.advance(2 * b.m.o.DeleteDelay)
		if err := b.drain(); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		m := w.committed()
		if m.EndOffset != log.end || m.StartOffset != max(0, log.end-3) {
			t.Fatalf("tier is [%d, %d), the log [%d, %d)", m.StartOffset, m.EndOffset, log.start, log.end)
		}
		if n := len(m.Trash) + len(m.TrashPages); n > 2*b.m.shape.Inline {
			t.Fatalf("the manifest has %d entries of trash", n)
		}
	}
	if n := w.committed().TrashEntries(); n < 180 {
		t.Errorf("there are %d entries of trash, some are lost", n)
	}
	if got := len(b.live(0)); got != 100 {
		t.Errorf("%d segments are left", got)
	}
	release()
	stuck := b.objectsOf(format.KindSegment)[5]
	w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: stuck})
	for range 20 {
		w.now.advance(2 * b.m.o.DeleteDelay)
		_ = b.drain()
	}
	if got := b.objectsOf(format.KindSegment); len(got) != 4 || !slices.Contains(got, stuck) {
		t.Errorf("left are %q, want the last three and %q", got, stuck)
	}
	// A crash loses the record of what is deleted: it is deleted again, which is no error.
	b = w.start(log.restarted(), 2)
	b.mustAttach()
	w.now.advance(2 * b.m.o.DeleteDelay)
	if err := b.drain(); err == nil || !strings.Contains(err.Error(), stuck) {
		t.Errorf("step: %v, want an error that names %q", err, stuck)
	}
	b.check()
}

// What a pin keeps exists until the pin ends.
func TestPinsKeepWhatHasExpired(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 5)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	until, pinnedAt := w.now.now().Add(24*time.Hour).UnixMilli(), w.committed().Name()
	w.byNewerBroker(func(v map[string]any) {
		v["pins"] = []any{map[string]any{"id": "p", "name": "backup", "until_ms": until, "manifest": pinnedAt}}
	}, same)
	pinned := w.objects()
	log = log.restarted()
	b = w.start(log, 2)
	b.mustAttach()
	if err := log.AdvanceStartOffset(log.end); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	w.now.advance(12 * time.Hour)
	b.p.chores.nextSweep = time.Time{}
	b.mustDrain()
	for _, name := range pinned {
		if !slices.Contains(w.objects(), name) {
			t.Errorf("%s is gone", name)
		}
	}
	w.now.advance(13 * time.Hour)
	b.mustDrain()
	if got := b.objectsOf(format.KindSegment); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
}

// A manifest that no broker could read is not written.
func TestLargeManifestIsNotCommitted(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	before := w.committed().Name()
	m := *b.p.all()
	m.ClusterID = strings.Repeat("x", format.MaxDocumentBytes)
	b.p.manifest.Store(&m)
	fill(log, 1)
	if err := b.drain(); !errors.Is(err, format.ErrTooLarge) {
		t.Errorf("step: %v, want ErrTooLarge", err)
	}
	if got := w.committed().Name(); got != before || log.remoteEnd == log.end {
		t.Errorf("committed is %s, and the log may delete up to %d", got, log.remoteEnd)
	}
}

// No object exists without a pointer that leads to it, whatever is written first.
func TestPointerIsThereBeforeTheFirstObject(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	b := w.start(log, 3)
	b.mustAttach()
	b.m.objects.bucket = &lossyBucket{objstoreBucket: w.faults, match: func(string) bool {
		if ptr, revision := w.pointer(); revision == 0 || ptr.LeaderEpoch != 3 {
			t.Error("an object is written, and there is no pointer")
		}
		return false
	}}
	fill(log, 1)
	w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Times: 1})
	if err := b.drain(); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("step: %v, want ErrUnavailable", err)
	}
	if ptr, _ := w.pointer(); ptr.Manifest != "" || ptr.EndOffset != 0 || ptr.LastEpoch != -1 {
		t.Errorf("the pointer is %+v", ptr)
	}
	// A follower sees an empty tier.
	f := w.follow(newFakeLog(t))
	if _, _, err := f.m.read(context.Background(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read: %v, want ErrOffsetOutOfRange", err)
	}
	b.mustDrain()
	ptr, _ := w.pointer()
	if ptr.EndOffset != log.end || ptr.CommittedMs != w.now.now().UnixMilli() {
		t.Errorf("the pointer is %+v", ptr)
	}
	b.check()
}

// TestTrashPageThatCanBeReadAgain: it no longer counts as undeletable, although it still lists
// trash.
func TestTrashPageThatCanBeReadAgain(t *testing.T) {
	b := longTier(t)
	b.now.advance(2 * b.m.o.DeleteDelay)
	page := b.p.manifest.Load().TrashPages[0].Name
	remove := b.faults.Add(objstoretest.Fault{Op: objstoretest.GetOp, Key: page})
	deletes := b.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp})
	_ = b.drain()
	if p := b.p.deletions.mu.pages[page]; p == nil || p.refused[page] == nil {
		t.Fatal("the page that cannot be read is not told of")
	}
	remove()
	b.forgetFailures()
	u := unit{p: b.p, now: b.now.now()}
	u.page(t.Context(), &b.p.manifest.Load().TrashPages[0])
	if p := b.p.deletions.mu.pages[page]; u.failed != nil || p == nil || p.refused[page] != nil {
		t.Errorf("it is still told of: %+v, %v", p, u.failed)
	}
	deletes()
	b.mustDrain()
	b.check()
}
