package tiering

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// swappingBucket does something at the first read.
type swappingBucket struct {
	objstoreBucket
	swap func()
}

func (b *swappingBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if b.swap != nil {
		b.swap()
		b.swap = nil
	}
	return b.objstoreBucket.GetRange(ctx, key, off, p)
}

func (w *world) put(key string) {
	w.t.Helper()
	if err := w.bucket.Put(context.Background(), key, bytes.NewReader([]byte("x")), objstorePut{}); err != nil {
		w.t.Fatal(err)
	}
}

// TestSweeperRemovesOrphansOnly: a sweep deletes what nothing names, but nothing of a newer leader,
// and nothing that is not Varve's.
func TestSweeperRemovesOrphansOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := newFakeLog(t)
	for range 60 {
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	b.now.advance(2 * b.m.o.DeleteDelay)
	b.mustDrain() // the old manifests are deleted
	before := b.objects()

	orphans := []string{
		format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 4, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 5, Attempt: "beef"}.String(),
		format.Name{Kind: format.KindSegment, StartOffset: 100000, LeaderEpoch: 5, Attempt: "beef"}.String(),
		format.Name{Kind: format.KindPage, Level: 0, StartOffset: 0, LeaderEpoch: 5, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindPage, Level: 1, StartOffset: 0, LeaderEpoch: 5, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindManifest, LeaderEpoch: 5, Sequence: 9999, Attempt: "dead"}.String(),
		format.Name{Kind: format.KindTrash, LeaderEpoch: 5, Sequence: 3, Attempt: "dead"}.String(),
	}
	kept := []string{
		// Of a leader that this broker does not know yet.
		format.Name{Kind: format.KindSegment, StartOffset: 60, LeaderEpoch: 6, Attempt: "next"}.String(),
		"readme.txt", // not Varve's
	}
	for _, name := range append(slices.Clone(orphans), kept...) {
		w.put(b.p.prefix + name)
	}
	b.p.chores.nextSweep = time.Time{}
	b.mustDrain()
	if got := b.objects(); len(got) != len(before)+len(orphans)+len(kept) {
		t.Fatalf("the sweeper removed young objects: %d are left", len(got))
	}
	b.now.advance(3 * time.Hour)
	b.p.chores.nextSweep = time.Time{}
	b.mustDrain()
	want := append(slices.Clone(before), kept...)
	slices.Sort(want)
	if got := b.objects(); !slices.Equal(got, want) {
		t.Errorf("objects are\n%q, want\n%q", got, want)
	}
	b.check()
}

func TestDeposedLeaderDoesNotSweep(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	orphan := b.p.prefix + format.Name{Kind: format.KindSegment, StartOffset: 3, LeaderEpoch: 4, Attempt: "dead"}.String()
	w.put(orphan)
	next := w.start(log, 6)
	next.mustAttach()
	b.now.advance(48 * time.Hour)
	if err := b.drain(); !errors.Is(err, ErrDeposed) {
		t.Fatalf("step: %v, want ErrDeposed", err)
	}
	if _, err := w.bucket.Stat(t.Context(), orphan); err != nil {
		t.Errorf("the deposed leader swept: %v", err)
	}
}

func TestDeletedTopicLeavesNothing(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	for range 40 { // with a page
		log.appendSegment(segmentSpec{batches: 1})
	}
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	if err := log.AdvanceStartOffset(3); err != nil {
		t.Fatal(err)
	}
	b.mustDrain() // with a deletion list
	w.put(b.p.prefix + "orphan")
	other := format.PartitionPrefix("tier", metadata.TopicID{9}, 0) + "other"
	w.put(other)
	ctx := t.Context()
	gone := func(metadata.TopicID, int64) bool { return false }
	alive := func(metadata.TopicID, int64) bool { return true }

	for name, clean := range map[string]func() error{
		"live":     func() error { return b.m.CleanDeleted(ctx, alive) },
		"attached": func() error { return b.m.CleanDeleted(ctx, gone) },
	} {
		if err := clean(); err != nil {
			t.Fatal(err)
		}
		if ptr, _, _ := readPointer(ctx, w.store, b.p.key); ptr.DeletedMs != 0 {
			t.Fatalf("a topic that is %s was marked as deleted", name)
		}
	}

	cleaner := New(w.options())
	if err := cleaner.CleanDeleted(ctx, gone); err != nil {
		t.Fatal(err)
	}
	// The pointer is marked; a leader that has not seen it yet is deposed.
	fill(log, 1)
	if err := b.drain(); !errors.Is(err, ErrDeposed) {
		t.Fatalf("step after the deletion: %v, want ErrDeposed", err)
	}
	if late := w.start(log, 9); !errors.Is(late.attach(), ErrDeposed) {
		t.Fatal("a deleted topic was claimed")
	}
	before := len(b.objects())
	if err := cleaner.CleanDeleted(ctx, gone); err != nil || len(b.objects()) != before {
		t.Fatalf("before the grace: %v, %d of %d objects", err, len(b.objects()), before)
	}
	w.now.advance(2 * b.m.o.UploadTimeout)
	w.start(log, 9).m.Detach(t.Context(), w.tp)
	// A crash at any deletion: the cleanup continues where it was.
	for i := 0; ; i++ {
		remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.DeleteOp, Skip: 7 * i, Times: 1})
		err := cleaner.CleanDeleted(ctx, gone)
		remove()
		if err == nil {
			break
		}
		w.now.advance(2 * refusedMax)
		if i > 50 {
			t.Fatalf("still failing: %v", err)
		}
		if pair, _ := w.store.Get(ctx, b.p.key); !pair.Exists() {
			t.Fatal("the pointer went before the objects")
		}
	}
	if got := b.objects(); len(got) != 0 {
		t.Errorf("objects are left: %q", got)
	}
	if pair, _ := w.store.Get(ctx, b.p.key); pair.Exists() {
		t.Error("the pointer is left")
	}
	if _, err := w.bucket.Stat(ctx, other); err != nil {
		t.Errorf("an object of another topic: %v", err)
	}
}

// A listing without the newest objects must not keep named ones alive.
func TestDeletedTopicWithAStaleListing(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	b := w.start(log, 5)
	b.mustAttach()
	w.faults.Add(objstoretest.Fault{Op: objstoretest.ListOp, Kind: objstoretest.StaleList})
	fill(log, 3)
	b.mustDrain()
	b.m.Detach(t.Context(), w.tp)
	gone := func(metadata.TopicID, int64) bool { return false }
	for range 2 {
		if err := b.m.CleanDeleted(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		w.now.advance(2 * b.m.o.UploadTimeout)
	}
	if got := b.objects(); len(got) != 0 {
		t.Errorf("objects are left: %q", got)
	}
}

// The image of the cluster may be older than the topic.
func TestTopicThatIsNotKnownYetIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 5)
	b.mustAttach()
	b.mustDrain()
	b.m.Detach(t.Context(), w.tp)
	pair, err := w.store.Get(t.Context(), b.p.key)
	if err != nil {
		t.Fatal(err)
	}
	imageRevision := pair.CreateRevision - 1
	live := func(_ metadata.TopicID, revision int64) bool { return imageRevision < revision }
	for range 2 {
		if err = b.m.CleanDeleted(t.Context(), live); err != nil {
			t.Fatal(err)
		}
		w.now.advance(2 * b.m.o.UploadTimeout)
	}
	if ptr, _, err := readPointer(t.Context(), w.store, b.p.key); err != nil || ptr.DeletedMs != 0 || ptr.Manifest == "" {
		t.Errorf("the topic was marked as deleted, or is: %+v, %v", ptr, err)
	}
}
