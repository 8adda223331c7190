package tiering

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// suspectLog is a log whose leader was elected although it may be missing records.
type suspectLog struct {
	*fakeLog
	continues int
	restarts  []storage.RemoteState
}

func (l *suspectLog) Continues() { l.continues++ }

func (l *suspectLog) StartFromRemote(_ context.Context, s storage.RemoteState) error {
	l.restarts = append(l.restarts, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments, l.start, l.localStart, l.end = nil, s.StartOffset, s.EndOffset, s.EndOffset
	return nil
}

// suspect makes a log the partition's leader at a leader epoch, after an election that may
// have lost records.
func (w *world) suspect(log *fakeLog, epoch int32) (*broker, *suspectLog) {
	b := w.start(log, epoch)
	l := &suspectLog{fakeLog: log}
	b.p.Suspect, b.p.LossyEpoch = l, epoch
	b.p.becomeLeader(context.Background())
	return b, l
}

// cutOff returns the log with its first n batches only, in segments of five. Another leader
// may continue it.
func (l *fakeLog) cutOff(n int) *fakeLog {
	lost := l.restarted()
	lost.batches, lost.end = slices.Clone(l.batches[:n]), 0
	if n > 0 {
		lost.end = l.batches[n-1].NextOffset()
	}
	lost.resegment(5)
	return lost
}

// dropPointer makes the metadata store one from before the partition was tiered.
func (w *world) dropPointer() {
	w.t.Helper()
	if _, err := w.store.Txn(w.t.Context(), nil, kv.Delete(metadata.TierKey(w.id, w.tp.Partition))); err != nil {
		w.t.Fatal(err)
	}
}

// tieredLog returns a log of three segments that are in the tier.
func tieredLog(t *testing.T) (*world, *fakeLog) {
	t.Helper()
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	return w, log
}

// TestSuspectLogIsCompletedFromTheTier: the log has lost its end, or everything. No record of
// the tier is lost.
func TestSuspectLogIsCompletedFromTheTier(t *testing.T) {
	for _, kept := range []int{0, 5, 7, 14} {
		w, log := tieredLog(t)
		name := w.committed().Name()
		b, l := w.suspect(log.cutOff(kept), 4)
		b.mustAttach()
		if len(l.restarts) != 1 || l.restarts[0].EndOffset != log.end || len(l.restarts[0].Epochs) == 0 || l.continues != 1 {
			t.Fatalf("%d batches kept: the log begins anew at %+v, and continues %d times", kept, l.restarts, l.continues)
		}
		b.mustDrain()
		if l.remoteEnd != log.end || w.committed().Name() != name {
			t.Errorf("%d batches kept: the log may delete up to %d, the manifest is %s", kept, l.remoteEnd, w.committed().Name())
		}
		l.appendSegment(segmentSpec{batches: 3, epoch: 4})
		b.mustDrain()
		if m := w.committed(); m.EndOffset != l.end || m.StartOffset != 0 {
			t.Errorf("%d batches kept: the tier is [%d, %d)", kept, m.StartOffset, m.EndOffset)
		}
	}
}

// TestSuspectLogThatDivergesCutsTheTier: an unclean leader's records are the partition's. What is
// cut off is kept for a week.
func TestSuspectLogThatDivergesCutsTheTier(t *testing.T) {
	w, log := tieredLog(t)
	other := log.cutOff(6) // in the second segment
	cut := other.end
	for range 4 {
		other.appendSegment(segmentSpec{batches: 20, epoch: 4})
	}
	b, l := w.suspect(other, 4)
	cutOff := w.objectsOf(format.KindSegment)[2]
	b.mustAttach()
	m := w.committed()
	if m.EndOffset != cut || len(m.Lineage) != 1 || m.Lineage[0].Offset != cut || l.continues != 1 || len(l.restarts) != 0 {
		t.Fatalf("the tier ends at %d, lineage %+v, continues %d", m.EndOffset, m.Lineage, l.continues)
	}
	b.mustDrain()
	if m = w.committed(); m.EndOffset != other.end || m.StartOffset != 0 {
		t.Fatalf("the tier is [%d, %d), the log ends at %d", m.StartOffset, m.EndOffset, other.end)
	}
	for offset := int64(0); offset < other.end; {
		got, _, err := b.m.read(t.Context(), w.tp, offset, 1<<20, 1<<60)
		if err != nil || !bytes.HasPrefix(other.want(offset, other.end), got) {
			t.Fatalf("offset %d: %d bytes that are not those of the log, %v", offset, len(got), err)
		}
		offset = lastOffset(t, got) + 1
	}
	b.now.advance(6 * 24 * time.Hour)
	b.mustDrain()
	if !slices.Contains(w.objects(), cutOff) {
		t.Error("what was cut off is gone before its time")
	}
	b.now.advance(2 * 24 * time.Hour)
	b.mustDrain()
	if slices.Contains(w.objects(), cutOff) {
		t.Error("what was cut off stays for ever")
	}
	b.check()
}

// TestSuspectLogIsKnownByThePointer: while the bucket is unreachable, only a log that continues the
// tier by the pointer is served.
func TestSuspectLogIsKnownByThePointer(t *testing.T) {
	w, log := tieredLog(t)
	remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.AnyOp})
	b, l := w.suspect(log.restarted(), 4)
	if err := b.attach(); !errors.Is(err, ErrUnavailable) || l.continues != 1 {
		t.Errorf("attach: %v, continues %d", err, l.continues)
	}
	b, l = w.suspect(log.cutOff(10), 5)
	if err := b.attach(); !errors.Is(err, ErrUnavailable) || l.continues != 0 {
		t.Errorf("attach with a lost end: %v, continues %d", err, l.continues)
	}
	remove()
	b.mustDrain()
	if l.continues != 1 || len(l.restarts) != 1 {
		t.Errorf("continues %d, began anew %d times", l.continues, len(l.restarts))
	}
}

// TestOtherHistoryIsAnAlarm: a log that no election made suspect has other records than the tier.
// Neither is touched, because it is unknown which of the two is wrong.
func TestOtherHistoryIsAnAlarm(t *testing.T) {
	w, log := tieredLog(t)
	other := log.cutOff(5)
	for range 4 {
		other.appendSegment(segmentSpec{batches: 20, epoch: 4})
	}
	before := w.objects()
	b := w.start(other, 4)
	b.p.LossyEpoch = 3 // an epoch that the tier has
	if err := b.attach(); !errors.Is(err, ErrDiverged) {
		t.Fatalf("attach: %v, want ErrDiverged", err)
	}
	b.now.advance(48 * time.Hour)
	if err := b.drain(); !errors.Is(err, ErrDiverged) {
		t.Fatalf("drain: %v, want ErrDiverged", err)
	}
	if other.remoteEnd != -1 || !slices.Equal(w.objects(), before) {
		t.Errorf("the log may delete up to %d, the bucket has %d objects, %d before", other.remoteEnd, len(w.objects()), len(before))
	}
	if s, _ := b.m.Status(w.tp); len(s.Problems) != 1 || s.Problems[0].Kind != "attach" {
		t.Errorf("status has %+v", s.Problems)
	}
}

// TestLostPointerIsAnAlarm: the metadata store is older than the bucket. Nothing is uploaded over
// what is there, the log start does not move, and nothing is swept.
func TestLostPointerIsAnAlarm(t *testing.T) {
	for what, q := range map[string]struct {
		change func(log *fakeLog) *fakeLog
		want   error
	}{
		"all is on the disk": {func(log *fakeLog) *fakeLog { return log }, ErrLostPointer},
		"a part is not": {func(log *fakeLog) *fakeLog {
			log.localStart, log.segments = log.segments[1].base, log.segments[1:]
			return log
		}, ErrLostPointer},
		"nothing is": {func(log *fakeLog) *fakeLog { return log.cutOff(0) }, ErrLostPointer},
	} {
		w, log := tieredLog(t)
		w.dropPointer()
		before := w.objects()
		b, l := w.suspect(q.change(log.restarted()), 4)
		for range 3 {
			_ = b.attach()
			if err := b.drain(); !errors.Is(err, q.want) {
				t.Errorf("%s: %v, want %v", what, err, q.want)
			}
			b.now.advance(48 * time.Hour)
		}
		if l.start != 0 || !slices.Equal(w.objects(), before) {
			t.Errorf("%s: the log starts at %d, %d objects are there, %d before", what, l.start, len(w.objects()), len(before))
		}
		if l.continues > 0 {
			t.Errorf("%s: it is served", what)
		}
	}
}

// TestHoleBelowTheLogIsAnAlarm: a log that has dropped its beginning has a history somewhere,
// although no pointer leads to it. The log start does not move.
func TestHoleBelowTheLogIsAnAlarm(t *testing.T) {
	w, log := tieredLog(t)
	w.dropPointer()
	before := w.objects()
	log = log.restarted()
	log.localStart, log.segments = log.segments[1].base, log.segments[1:]
	fill(log, 1)
	b := w.start(log, 4)
	for range 3 {
		_ = b.attach()
		if err := b.drain(); !errors.Is(err, ErrGap) {
			t.Errorf("%v, want ErrGap", err)
		}
		b.now.advance(48 * time.Hour)
	}
	if log.start != 0 || log.remoteEnd != -1 || !slices.Equal(w.objects(), before) {
		t.Errorf("the log starts at %d and may delete up to %d; %d objects are there, %d before", log.start, log.remoteEnd, len(w.objects()), len(before))
	}
}

// TestOtherHistoryBesideANewerVersion: the tier must not be changed, and the log does not learn
// what it may delete.
func TestOtherHistoryBesideANewerVersion(t *testing.T) {
	w, log := tieredLog(t)
	w.byNewerBroker(func(v map[string]any) { v["write"] = []any{"warp"} }, func(map[string]any) {})
	other := log.cutOff(5)
	for range 4 {
		other.appendSegment(segmentSpec{batches: 20, epoch: 4})
	}
	b := w.start(other, 4)
	for range 2 {
		_ = b.attach()
		if err := b.drain(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, ErrDiverged) {
			t.Errorf("%v, want ErrReadOnly and ErrDiverged", err)
		}
	}
	if other.remoteEnd != -1 {
		t.Errorf("the log may delete up to %d", other.remoteEnd)
	}
}
