package tiering

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// TestUndeletableObjectStopsNoOther: the store denies the deletion of one object. It is retried
// after longer and longer pauses, shows in the status, and is deleted once the store allows it.
func TestUndeletableObjectStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w, func(o *Options) { o.SweepInterval = 365 * 24 * time.Hour })
		log := newFakeLog(t)
		small(log, 8)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		first := w.objectsButTrash()[0]
		remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: first})
		if err := log.AdvanceStartOffset(8); err != nil {
			t.Fatal(err)
		}
		m.Kick(tp)
		time.Sleep(10 * time.Minute)
		if got := w.objectsButTrash(); len(got) != 2 || got[0] != first || !strings.HasPrefix(got[1], "manifest/") {
			t.Errorf("objects are left: %q", got)
		}
		calls := w.faults.Calls(objstoretest.DeleteOp)
		time.Sleep(24 * time.Hour)
		if n := w.faults.Calls(objstoretest.DeleteOp) - calls; n == 0 || n > 60 {
			t.Errorf("it was tried %d times in a day", n)
		}
		s, _ := m.Status(tp)
		i := slices.IndexFunc(s.Problems, func(p Problem) bool { return p.Kind == ProblemUndeletable })
		if i < 0 || !strings.HasSuffix(s.Problems[i].Object, "/7/"+first) || s.Problems[i].Count != 1 ||
			!errors.Is(s.Problems[i].Err, objstoretest.ErrInjected) || time.Since(s.Problems[i].Since) < 24*time.Hour {
			t.Errorf("status has the problems %+v", s.Problems)
		}
		if trouble := m.trouble(); trouble.undeletable != 1 || trouble.overdue < 24*time.Hour {
			t.Errorf("metrics say %+v", trouble)
		}
		remove()
		time.Sleep(2 * refusedMax)
		if got := w.objectsButTrash(); len(got) != 1 {
			t.Errorf("objects are left: %q", got)
		}
		if s, _ = m.Status(tp); len(s.Problems) != 0 || m.trouble().undeletable != 0 {
			t.Errorf("status still has %+v", s.Problems)
		}
	})
}

// TestExpiredPageIsDamaged: nothing says any more what the page named. It is deleted like all
// others, and what it named is swept.
func TestExpiredPageIsDamaged(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 30)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	w.damage(b.p.prefix + b.p.all().Pages[0].Name)
	if err := log.AdvanceStartOffset(29); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	b.now.advance(2 * b.m.o.SweepGrace)
	b.p.chores.nextSweep = b.now.now().Add(time.Hour) // the sweep comes sooner
	b.mustDrain()
	b.mustDrain()
	if got := b.objectsButTrash(); len(got) != 2 {
		t.Errorf("objects are left beside a segment and the manifest: %q", got)
	}
	b.sweepAll()
}

// TestPageOfUndeletableSegments: what a page names is deleted as far as possible, and the page
// stays while anything is left.
func TestPageOfUndeletableSegments(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 30)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	page := b.p.all().Pages[0]
	pg, err := b.p.loadPage(t.Context(), &page)
	if err != nil || page.Level != 0 {
		t.Fatal(page.Level, err)
	}
	left := pg.Segments[1].Name
	remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: left})
	if err = log.AdvanceStartOffset(29); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	if err = b.drain(); !errors.Is(err, objstoretest.ErrInjected) {
		t.Errorf("drain: %v", err)
	}
	got := b.objectsButTrash()
	if len(got) != 4 || !slices.Contains(got, left) || !slices.Contains(got, page.Name) {
		t.Errorf("objects are left: %q", got)
	}
	remove()
	b.mustDrain()
	if got = b.objectsButTrash(); len(got) != 2 {
		t.Errorf("objects are left: %q", got)
	}
	b.check()
}

// TestStoreThatDeletesNothingIsNotAskedForAll: after a batch of which nothing was deleted,
// the rest waits.
func TestStoreThatDeletesNothingIsNotAskedForAll(t *testing.T) {
	w := newWorld(t)
	b := w.start(newFakeLog(t), 1)
	w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp})
	all := make([]doomed, 3*deleteBatch)
	for i := range all {
		all[i].name = format.Name{Kind: format.KindSegment, StartOffset: int64(i), Attempt: "a"}.String()
	}
	r := b.m.objects.removal(b.p.prefix, func(string, error) {})
	errs := r.remove(t.Context(), all)
	if n := w.faults.Calls(objstoretest.DeleteOp); n != 1 || r.asked != deleteBatch {
		t.Errorf("%d requests for %d objects", n, r.asked)
	}
	if errors.Is(errs[0], errNotTried) || !errors.Is(errs[len(errs)-1], errNotTried) {
		t.Errorf("of the first: %v, of the last: %v", errs[0], errs[len(errs)-1])
	}
}

// TestBatchIsOneRequest checks that a batch is one request, and that each object's result is at its
// index, whatever the results of the others are.
func TestBatchIsOneRequest(t *testing.T) {
	w := newWorld(t)
	b := w.start(newFakeLog(t), 1)
	denied := errors.New("denied")
	w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: "key-1", Err: denied})
	w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: "key-3", Kind: objstoretest.FailAfter})
	keys := []string{"key-4", "key-3", "key-2", "key-1", "key-0"}
	for _, key := range keys[1:] {
		w.put(key)
	}
	errs := b.m.objects.removeAll(t.Context(), keys)
	for i, want := range []error{nil, objstore.ErrUnavailable, nil, denied, nil} {
		if !errors.Is(errs[i], want) || want != nil && !errors.Is(errs[i], ErrUnavailable) {
			t.Errorf("%s: %v, want %v", keys[i], errs[i], want)
		}
		if _, err := w.bucket.Stat(t.Context(), keys[i]); errors.Is(err, objstore.ErrNotFound) == (i == 3) {
			t.Errorf("%s: %v", keys[i], err)
		}
	}
	if n := w.faults.Calls(objstoretest.DeleteOp); n != 1 {
		t.Errorf("%d requests", n)
	}
	if n := counter(t, b.m.metrics.deletedObjects); n != 3 {
		t.Errorf("%v objects count as deleted", n)
	}
}

// TestSweepBelowADeadPage: an orphan is in a range whose page is deleted, below one that exists.
func TestSweepBelowADeadPage(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 60)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	if b.p.all().Pages[0].Level == 0 {
		t.Fatal("there is no page of pages")
	}
	if err := log.AdvanceStartOffset(9); err != nil { // the first two pages of segments expire
		t.Fatal(err)
	}
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	orphans := []string{
		format.Name{Kind: format.KindSegment, StartOffset: 2, LeaderEpoch: 4, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindPage, Level: 0, StartOffset: 0, LeaderEpoch: 4, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindSegment, StartOffset: 30, LeaderEpoch: 4, Attempt: "dead"}.String(),
	}
	for _, name := range orphans {
		w.put(b.p.prefix + name)
	}
	fresh := w.start(log, 6) // with no page in its cache
	fresh.mustAttach()
	fresh.mustDrain() // it does not know that the pages are deleted
	fresh.now.advance(3 * time.Hour)
	fresh.p.chores.nextSweep = time.Time{}
	fresh.mustDrain()
	for _, name := range orphans {
		if slices.Contains(fresh.objects(), name) {
			t.Errorf("%s is left", name)
		}
	}
	if fresh.p.chores.nextSweep.Before(fresh.now.now()) {
		t.Error("the sweep has not ended")
	}
	fresh.check()
}

// TestSweepSparesWhatAnExpiredPageNames: that is deleted with the page, after the readers' grace
// period.
func TestSweepSparesWhatAnExpiredPageNames(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 30)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain()
	b.now.advance(3 * time.Hour)
	if err := log.AdvanceStartOffset(29); err != nil {
		t.Fatal(err)
	}
	before := len(b.objectsButTrash())
	b.p.chores.nextSweep = time.Time{}
	b.mustDrain()
	if got := len(b.objectsButTrash()); got != before+1 {
		t.Errorf("%d objects, want the %d of before and a manifest", got, before)
	}
	b.sweepAll()
}

// TestUndeletableOrphanStopsNoOther checks that it does not stop the next sweep either.
func TestUndeletableOrphanStopsNoOther(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 2)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	for _, attempt := range []string{"a", "b", "c"} {
		w.put(b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 4, Attempt: attempt}.String())
	}
	remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: "-a.segment"})
	b.now.advance(48 * time.Hour)
	if err := b.drain(); !errors.Is(err, objstoretest.ErrInjected) {
		t.Errorf("drain: %v", err)
	}
	if got := b.objectsButTrash(); len(got) != 4 { // two segments, the manifest, and the orphan
		t.Errorf("objects are left: %q", got)
	}
	if n, object, _ := b.p.deletions.overdue(); n != 1 || !strings.HasSuffix(object, "-a.segment") {
		t.Errorf("%d cannot be deleted, %s", n, object)
	}
	remove()
	b.sweepAll()
	if n, _, _ := b.p.deletions.overdue(); n != 0 {
		t.Errorf("%d cannot be deleted still", n)
	}
}

// TestNothingIsSweptBesideAGap: a log that does not continue the tier is a reason to doubt the
// manifest.
func TestNothingIsSweptBesideAGap(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	orphan := format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 1, Attempt: "dead"}.String()
	w.put(b.p.prefix + orphan)
	fill(log, 3)
	log.segments = log.segments[4:]
	b.now.advance(48 * time.Hour)
	if err := b.drain(); !errors.Is(err, ErrGap) {
		t.Fatalf("drain: %v, want ErrGap", err)
	}
	if !slices.Contains(b.objectsButTrash(), orphan) {
		t.Error("it was swept")
	}
}

// TestDeletedTopicWaitsForUploads: an upload that began before the topic was deleted may end as
// late as its timeout allows.
func TestDeletedTopicWaitsForUploads(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	b.m.Detach(t.Context(), w.tp)
	clean := func() {
		t.Helper()
		if err := b.m.CleanDeleted(t.Context(), func(metadata.TopicID, int64) bool { return false }); err != nil {
			t.Fatal(err)
		}
	}
	clean()
	w.now.advance(b.m.o.UploadTimeout - time.Second)
	clean()
	late := format.Name{Kind: format.KindSegment, StartOffset: 9, LeaderEpoch: 5, Attempt: "late"}.String()
	w.put(b.p.prefix + late)
	w.now.advance(2 * time.Second)
	clean()
	if got := b.objectsButTrash(); len(got) != 0 {
		t.Errorf("objects are left: %q", got)
	}
	if pair, _ := w.store.Get(t.Context(), b.p.key); pair.Exists() {
		t.Error("the pointer is left")
	}
}

// TestUndeletableObjectOfADeletedTopic checks that one object stops no other and no other
// partition, and is retried after longer and longer pauses.
func TestUndeletableObjectOfADeletedTopic(t *testing.T) {
	w := newWorld(t)
	brokers := map[int32]*broker{}
	for _, number := range []int32{7, 8} {
		w.tp.Partition = number
		log := newFakeLog(t)
		small(log, 12)
		b := w.start(log, 5)
		b.mustAttach()
		b.mustDrain()
		brokers[number] = b
	}
	w.tp.Partition = 7
	left := brokers[7].p.all().Recent[0].Name
	w.put(brokers[7].p.prefix + "unnamed")
	remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Key: "/7/" + left, Err: objstore.ErrUnavailable})
	cleaner := New(w.options())
	gone := func(metadata.TopicID, int64) bool { return false }
	if err := cleaner.CleanDeleted(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	w.now.advance(2 * cleaner.o.UploadTimeout)
	if err := cleaner.CleanDeleted(t.Context(), gone); !errors.Is(err, objstoretest.ErrInjected) {
		t.Fatalf("clean: %v", err)
	}
	if got := w.objectsButTrash(); len(got) != 2 || got[0] != left {
		t.Errorf("objects are left: %q, want %s and the manifest", got, left)
	}
	if pair, _ := w.store.Get(t.Context(), brokers[8].p.key); pair.Exists() {
		t.Error("the other partition is still there")
	}
	if cleaner.trouble().overdue != 0 { // since now
		t.Errorf("overdue for %v", cleaner.trouble().overdue)
	}
	calls := w.faults.Calls(objstoretest.DeleteOp)
	for range 24 * 60 {
		w.now.advance(time.Minute)
		_ = cleaner.CleanDeleted(t.Context(), gone)
	}
	if n := w.faults.Calls(objstoretest.DeleteOp) - calls; n == 0 || n > 60 {
		t.Errorf("%d deletions in a day", n)
	}
	if cleaner.trouble().overdue < 23*time.Hour {
		t.Errorf("overdue for %v", cleaner.trouble().overdue)
	}
	remove()
	w.now.advance(refusedMax)
	if err := cleaner.CleanDeleted(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if got := w.objectsButTrash(); len(got) != 0 || cleaner.trouble().overdue != 0 {
		t.Errorf("objects are left: %q, overdue for %v", got, cleaner.trouble().overdue)
	}
}
