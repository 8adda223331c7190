package tiering

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// fill closes n small segments.
func fill(log *fakeLog, n int) {
	for range n {
		log.appendSegment(segmentSpec{batches: 5, records: 3, valueBytes: 100})
	}
}

func TestUploadedSegmentsReadBackToTheByte(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 7)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	if m := b.p.all(); m.EndOffset != log.end || m.Segments != 7 {
		t.Fatalf("tier ends at %d with %d segments, want %d and 7", m.EndOffset, m.Segments, log.end)
	}
	if log.remoteEnd != log.end {
		t.Fatalf("log was told %d, want %d", log.remoteEnd, log.end)
	}
	b.check()

	// The same after a restart.
	b = w.start(log.restarted(), 2)
	b.mustAttach()
	b.check()
	b.mustDrain()
	if b.log.remoteEnd != log.end {
		t.Fatalf("log was told %d after the restart, want %d", b.log.remoteEnd, log.end)
	}
	b.sweepAll()
}

// A segment is uploaded, retention removes some, and pages are sealed. Every request of all that is
// the last one of a broker, once before it was done and once after. The next broker continues.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	t.Parallel()
	everyRequest(t, true, func(w *world, log *fakeLog, _ *broker) *broker {
		// The process is gone, with everything it knew.
		w.trap = nil
		next := w.start(log.restarted(), 2)
		next.persist()
		return next
	})
}

// The same with a broker that survives: one request fails, or succeeds and is reported as failed,
// and the broker has to find out which.
func TestAnyRequestFailsOnce(t *testing.T) {
	t.Parallel()
	everyRequest(t, false, func(_ *world, _ *fakeLog, failing *broker) *broker {
		failing.persist()
		return failing
	})
}

func everyRequest(t *testing.T, die bool, recovered func(w *world, log *fakeLog, failing *broker) *broker) {
	t.Helper()
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			sprung := false
			t.Run(fmt.Sprintf("request=%d/after=%t", n, after), func(t *testing.T) {
				w := newWorld(t)
				trap := &trap{n: n, after: after, die: die}
				w.trap = trap
				log := newFakeLog(t)
				b := w.start(log, 1, func(o *Options) { o.UploadConcurrency = 3 })
				err := scenario(w, b)
				if sprung = trap.count > n; err == nil && sprung && die {
					t.Fatal("the broker did not notice that it is dead")
				}
				b = recovered(w, log, b)
				doRest(w, b)
				trap.disarm()
				verify(w, b)
			})
			if !sprung { // the scenario has no more requests
				if n < 25 {
					t.Errorf("only %d requests were tried", n)
				}
				break
			}
		}
	}
}

// scenario is what happens to the partition until the trap springs.
func scenario(w *world, b *broker) error {
	if err := b.attach(); err != nil {
		return err
	}
	fill(b.log, 3)
	if err := b.drain(); err != nil {
		return err
	}
	if err := b.log.AdvanceStartOffset(b.log.segments[0].end + 1); err != nil {
		return err
	}
	fill(b.log, 2)
	if err := b.drain(); err != nil {
		return err
	}
	w.now.advance(2 * b.m.o.DeleteDelay)
	return b.drain()
}

// doRest does what the scenario has left.
func doRest(w *world, b *broker) {
	w.t.Helper()
	if missing := 5 - len(b.log.segments); missing > 0 {
		fill(b.log, missing)
	}
	if err := b.log.AdvanceStartOffset(b.log.segments[0].end + 1); err != nil {
		w.t.Fatal(err)
	}
	b.persist()
}

// verify checks everything that the scenario was to do.
func verify(w *world, b *broker) {
	w.t.Helper()
	m := b.p.all()
	if m.EndOffset != b.log.end || m.StartOffset != b.log.segments[0].end || m.Segments != 4 {
		w.t.Errorf("tier is [%d, %d) with %d segments, want [%d, %d) with 4",
			m.StartOffset, m.EndOffset, m.Segments, b.log.segments[0].end, b.log.end)
	}
	if b.log.remoteEnd != b.log.end {
		w.t.Errorf("log was told %d, want %d", b.log.remoteEnd, b.log.end)
	}
	if got := w.committed(); got.Name() != m.Name() {
		w.t.Errorf("broker has manifest %s, committed is %s", m.Name(), got.Name())
	}
	b.check()
	b.sweepAll()
}

// TestSegmentIsUploadedOnceThoughItsCommitFails: a segment stays staged after a failed commit, so
// only manifests are written again.
func TestSegmentIsUploadedOnceThoughItsCommitFails(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp, Key: "manifest/", Times: 3})
	for range 3 {
		if err := b.drain(); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("step: %v, want ErrUnavailable", err)
		}
	}
	b.mustDrain()
	b.check()
	if n := w.faults.Calls(objstoretest.PutOp); n != 1+4 {
		t.Errorf("%d PUTs, want one of the segment and four of manifests", n)
	}
}

// The first leader's swap gets no confirmation, and happens only after the leader has looked at the
// pointer. It must not take effect.
func TestLateSwapIsFenced(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	fill(log, 1)

	late := &lateStore{Store: w.store}
	b.m.store = late
	if err := b.drain(); !errors.Is(err, errLost) {
		t.Fatalf("step: %v, want errLost", err)
	}
	if _, err := w.store.Txn(context.Background(), late.comparisons, late.ops...); !errors.Is(err, kv.ErrConflict) {
		t.Fatalf("late swap: %v, want a conflict", err)
	}
	b.mustDrain()
	b.check()
	b.sweepAll()
}

// lateStore keeps a write for later and reports that it timed out.
type lateStore struct {
	kv.Store
	passed      int  // writes before it that happen
	dead        bool // from that write on no request is answered
	comparisons []kv.Comparison
	ops         []kv.Op
}

func (s *lateStore) Txn(ctx context.Context, c []kv.Comparison, ops ...kv.Op) (int64, error) {
	if s.passed > 0 {
		s.passed--
		return s.Store.Txn(ctx, c, ops...)
	}
	if s.ops == nil {
		s.comparisons, s.ops = c, ops
		return 0, kv.ErrUnavailable
	}
	if s.dead {
		return 0, kv.ErrUnavailable
	}
	return s.Store.Txn(ctx, c, ops...)
}

func (s *lateStore) Get(ctx context.Context, key string) (kv.Pair, error) {
	if s.dead && s.ops != nil {
		return kv.Pair{}, kv.ErrUnavailable
	}
	return s.Store.Get(ctx, key)
}

// TestDeposedLeaderChangesNothing: once a newer leader has claimed the pointer, the older one can
// neither commit nor claim.
func TestDeposedLeaderChangesNothing(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("nothing uploaded before=%t", first), func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			old := w.start(log, 4)
			old.mustAttach()
			if !first {
				fill(log, 2)
				old.mustDrain()
			}
			fill(log, 2)

			next := w.start(log, 5)
			next.mustAttach()
			next.mustDrain()
			committed := w.committed().Name()

			fill(log, 1)
			err := old.drain()
			// It wanted to create the pointer, which exists.
			if first && errors.Is(err, kv.ErrConflict) {
				err = old.drain()
			}
			if !errors.Is(err, ErrDeposed) {
				t.Fatalf("step of the old leader: %v, want ErrDeposed", err)
			}
			if got := w.committed().Name(); got != committed {
				t.Fatalf("old leader replaced manifest %s by %s", committed, got)
			}
			if old.p.all().EndOffset == log.end {
				t.Fatal("old leader shows readers what was not committed")
			}
			// It does not return by itself, not even to claim.
			if err := old.attach(); !errors.Is(err, ErrDeposed) {
				t.Fatalf("attach of the old leader: %v, want ErrDeposed", err)
			}
			next.mustDrain()
			next.check()
			next.sweepAll()
		})
	}
}

// Two attachments have one leader epoch, as after a restart of the leader. The older one stays
// deposed: otherwise they would take the pointer from each other in turn.
func TestDeposedByItsOwnLeaderEpoch(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	old := w.start(log, 4)
	old.mustAttach()
	fill(log, 2)
	old.mustDrain()
	next := w.start(log, 4)
	next.mustAttach()
	fill(log, 1)
	err := old.drain()
	if !errors.Is(err, ErrDeposed) {
		t.Fatalf("step of the older attachment: %v, want ErrDeposed", err)
	}
	old.p.outcome(false)
	if err = old.attach(); !errors.Is(err, ErrDeposed) {
		t.Fatalf("it attaches again: %v", err)
	}
	next.mustDrain()
	next.check()
}

// A worker that still has the partition after its detach cannot change anything.
func TestDetachedPartitionChangesNothing(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 2)
	b := w.start(log, 4)
	b.mustAttach()
	b.mustDrain()
	before, committed := w.objects(), w.committed().Name()
	b.m.Detach(t.Context(), w.tp)
	fill(log, 2)
	for _, work := range []func() error{b.drain, b.attach} {
		if err := work(); !errors.Is(err, ErrUnknownPartition) {
			t.Errorf("work on a detached partition: %v, want ErrUnknownPartition", err)
		}
	}
	if got := w.objects(); !slices.Equal(got, before) || w.committed().Name() != committed {
		t.Errorf("a detached partition has changed: %q", got)
	}
}

// A leader that never uploaded does not hold the pointer, so an older one may create it after it
// was deposed. What the older leader uploaded was committed by its replicas, so it stays; the newer
// leader takes over the pointer.
func TestPointerOfALowerEpochIsClaimedAgain(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	old, next := w.start(log, 4), w.start(log, 5)
	old.mustAttach()
	next.mustAttach()
	fill(log, 2)
	old.mustDrain()
	fill(log, 1)
	if err := next.drain(); !errors.Is(err, kv.ErrConflict) {
		t.Fatalf("step: %v, want a conflict", err)
	}
	next.persist()
	if m := next.p.all(); m.EndOffset != log.end || m.Segments != 3 {
		t.Fatalf("tier ends at %d with %d segments, want %d and 3", m.EndOffset, m.Segments, log.end)
	}
	next.check()
	if err := old.drain(); !errors.Is(err, ErrDeposed) {
		t.Fatalf("step of the old leader: %v, want ErrDeposed", err)
	}
	next.sweepAll()
}

// A leader's first swap, which creates the pointer, arrives after the leader has attached again at
// the same leader epoch. The pointer then has a claim that no attachment has any more.
func TestLateFirstSwapOfAnEarlierAttachment(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	old := w.start(log, 4)
	old.mustAttach()
	late := &lateStore{Store: w.store, dead: true}
	old.m.store = late
	if err := old.drain(); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("step: %v, want ErrUnavailable", err)
	}
	next := w.start(log, 4)
	next.mustAttach()
	if _, err := w.store.Txn(context.Background(), late.comparisons, late.ops...); err != nil {
		t.Fatal(err)
	}
	fill(log, 1)
	next.persist()
	if m := w.committed(); m.EndOffset != log.end || m.Segments != 2 {
		t.Fatalf("tier ends at %d with %d segments, want %d and 2", m.EndOffset, m.Segments, log.end)
	}
	next.check()
	next.sweepAll()
}

// TestLeaderWithOtherSegmentBoundariesGoesOn: the new leader's segment begins below the tier's end.
// Its object serves only the offsets from there on.
func TestLeaderWithOtherSegmentBoundariesGoesOn(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 10, records: 2, valueBytes: 90})
	log.appendSegment(segmentSpec{batches: 10, records: 2, valueBytes: 90})
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()

	other := log.restarted()
	other.appendSegment(segmentSpec{batches: 25, records: 2, valueBytes: 90, epoch: 2})
	other.resegment(15) // cuts at 15 and 30 of 45 batches; the tier ends at 20
	b = w.start(other, 2)
	b.mustAttach()
	b.mustDrain()
	m := b.p.all()
	if m.EndOffset != other.end || m.Segments != 4 || m.Recent[2].BaseOffset != 30 || m.Recent[2].StartOffset != 40 {
		t.Fatalf("tier ends at %d: %+v", m.EndOffset, m.Recent)
	}
	b.check()
	b.sweepAll()
}

// TestGapIsRefused: an upload over missing offsets would lose them silently.
func TestGapIsRefused(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	fill(log, 3)
	log.segments = log.segments[4:] // what continues the tier is lost
	if err := b.drain(); !errors.Is(err, ErrGap) {
		t.Fatalf("step: %v, want ErrGap", err)
	}
	// If the log itself starts there, only records that are already deleted are missing.
	if err := log.AdvanceStartOffset(log.segments[0].base); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if m := b.p.all(); m.StartOffset != log.segments[0].base || m.EndOffset != log.end {
		t.Fatalf("tier is [%d, %d)", m.StartOffset, m.EndOffset)
	}
	b.check()
	b.sweepAll()
}

// TestLogThatEndsBelowTheTierIsLeftAlone: a log that is not suspect must not end below the tier.
// The tier does not change, and the log does not learn what it may delete.
func TestLogThatEndsBelowTheTierIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	lost := log.restarted()
	lost.segments, lost.end = lost.segments[:1], lost.segments[0].end
	b = w.start(lost, 2)
	var committed int64
	b.p.CommittedEnd = func(end int64) { committed = end }
	if err := b.attach(); !errors.Is(err, ErrGap) {
		t.Fatalf("attach: %v, want ErrGap", err)
	}
	if err := b.drain(); !errors.Is(err, ErrGap) {
		t.Fatalf("step: %v, want ErrGap", err)
	}
	if committed != log.end {
		t.Errorf("the leader learns that the tier ends at %d, not %d", committed, log.end)
	}
	if lost.remoteEnd != -1 {
		t.Fatalf("log was told that it may delete up to %d", lost.remoteEnd)
	}
}

func TestCopyDisableStopsUploadsOnly(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 2)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	end := log.end
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = true })
	fill(log, 3)
	if err := log.AdvanceStartOffset(log.segments[0].end); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	m := b.p.all()
	if m.EndOffset != end || m.StartOffset != log.segments[0].end {
		t.Fatalf("tier is [%d, %d), want [%d, %d)", m.StartOffset, m.EndOffset, log.segments[0].end, end)
	}
	if s, _ := b.m.Status(b.tp); s.LagSegments != 3 {
		t.Errorf("lag is %d segments, want 3", s.LagSegments)
	}
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = false })
	b.mustDrain()
	b.check()
}
