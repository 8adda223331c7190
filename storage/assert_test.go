//go:build invariants

package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// mustViolate checks that f panics for the invariant, and that the panic names the log and the
// value.
func mustViolate(t *testing.T, id, value string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		p := recover()
		err, _ := p.(error)
		var v *invariants.Violation
		switch {
		case !errors.As(err, &v):
			t.Errorf("want a violation of %s, got %v", id, p)
		case v.ID != id || !strings.Contains(v.Of, "t-0") || !strings.Contains(v.Detail, value):
			t.Errorf("want a violation of %s of t-0 that has %q: %v", id, value, v)
		}
	}()
	f()
}

// brokenLog returns a log of three closed segments with two records each and an active one with one
// record. All of it is committed and durable. The test then breaks it by hand.
func brokenLog(t *testing.T) (*kit, *Log) {
	t.Helper()
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	for range 3 {
		fill(t, l, 2)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, l, 1)
	commit(l)
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	// No assertion may fire when the manager closes.
	t.Cleanup(func() { l.closed.Store(true) })
	return k, l
}

// Each broken relation of offsets or epochs is found, under its id.
func TestViolatedOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		id, value string
		damage    func(l *Log)
	}{
		"log start above the high watermark": {"S15", "log start 7, high watermark 6", func(l *Log) {
			l.offsets.hw.Store(6)
			l.offsets.start.Store(7)
		}},
		"high watermark above the end":  {"S15", "high watermark 8, end 7", func(l *Log) { l.offsets.hw.Store(8) }},
		"flushed above the end":         {"S15", "flushed 8", func(l *Log) { l.offsets.flushed.Store(8) }},
		"recovery point above flushed":  {"S15", "recovery point 7", func(l *Log) { l.offsets.flushed.Store(6) }},
		"transaction begins at the end": {"S15", "first unstable offset 7", func(l *Log) { l.offsets.unstable.Store(7) }},
		"negative log start":            {"S15", "log start -1", func(l *Log) { l.offsets.start.Store(-1) }},
		"local start above the watermark": {"S15", "local start 6, high watermark 5", func(l *Log) {
			l.publish(l.list()[3:])
			l.offsets.hw.Store(5)
		}},
		"recovery point above indexes": {"S2", "above the base 2", func(l *Log) { l.list()[1].indexDurable = false }},
		"epochs do not ascend":         {"S17", "[{3 0} {3 2}]", func(l *Log) { l.epochs.store([]EpochEntry{{3, 0}, {3, 2}}) }},
		"epoch starts do not ascend":   {"S17", "[{3 2} {4 1}]", func(l *Log) { l.epochs.store([]EpochEntry{{3, 2}, {4, 1}}) }},
		"epoch above the end":          {"S17", "above the end 7", func(l *Log) { l.epochs.store([]EpochEntry{{3, 8}}) }},
	} {
		t.Run(name, func(t *testing.T) {
			_, l := brokenLog(t)
			l.assertLocked()
			c.damage(l)
			mustViolate(t, c.id, c.value, l.assertLocked)
		})
	}
}

// TestViolationsAreSeen checks that every change of a log runs the assertions.
func TestViolationsAreSeen(t *testing.T) {
	for name, change := range map[string]func(k *kit, l *Log) error{
		"append": func(_ *kit, l *Log) error { _, err := l.Append(batchOf(1, 1, 0), 9); return err },
		"follow": func(_ *kit, l *Log) error {
			b := batchOf(1, 1, 0)
			b.SetBaseOffset(7)
			b.SetLeaderEpoch(9)
			_, err := l.AppendAsFollower(b)
			return err
		},
		"assign epoch":      func(_ *kit, l *Log) error { return l.AssignEpoch(9, 7) },
		"roll":              func(_ *kit, l *Log) error { return l.Roll() },
		"truncate":          func(_ *kit, l *Log) error { return l.TruncateCommitted(5) },
		"advance log start": func(_ *kit, l *Log) error { return l.AdvanceStartOffset(1) },
		"flush": func(_ *kit, l *Log) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.flushedLocked(flushPlan{})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, l := brokenLog(t)
			l.epochs.store([]EpochEntry{{3, 0}, {2, 2}, {1, 3}})
			mustViolate(t, "S17", "do not ascend", func() {
				if err := change(k, l); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestViolatedList(t *testing.T) {
	_, l := brokenLog(t)
	list := l.list()
	mustViolate(t, "S14", "no segment", func() { l.publish(nil) })
	mustViolate(t, "S14", "begins at 0", func() { l.publish(segmentList{list[1], list[0], list[3]}) })
	mustViolate(t, "S14", "next one begins at 2", func() {
		list[0].end.Store(3)
		defer list[0].end.Store(2)
		l.publish(list)
	})
	mustViolate(t, "S14", "segment 4 is the last one, and closed", func() { l.publish(list[:3]) })
	mustViolate(t, "S14", "ends at -1", func() {
		list[0].end.Store(-1)
		defer list[0].end.Store(2)
		l.publish(list)
	})
	mustViolate(t, "S14", "segment 2 of [0 2 4 6] was deleted", func() {
		list[1].doomed.Store(true)
		defer list[1].doomed.Store(false)
		l.publish(list)
	})
	l.publish(list)
}

func TestViolatedAppend(t *testing.T) {
	_, l := brokenLog(t)
	at := func(base int64) record.Batch {
		b := batchOf(2, 1, 0)
		b.SetBaseOffset(base)
		return b
	}
	l.assertBatchesLocked(append(at(7), at(9)...), false)
	l.assertBatchesLocked(append(at(8), at(20)...), true)
	mustViolate(t, "S18", "batch [8, 10) is appended at 7", func() { l.assertBatchesLocked(at(8), false) })
	mustViolate(t, "S18", "batch [6, 8) is appended at 7", func() { l.assertBatchesLocked(at(6), true) })
	mustViolate(t, "S18", "batch [8, 10) is appended at 9", func() { l.assertBatchesLocked(append(at(7), at(8)...), true) })
	s := l.list().active()
	mustViolate(t, "S18", "batches [5, 7] are written to segment 6", func() { l.assertRoomLocked(s, &AppendInfo{FirstOffset: 5, LastOffset: 7}) })
	mustViolate(t, "S18", "which ends at 7", func() { l.assertRoomLocked(s, &AppendInfo{FirstOffset: 6, LastOffset: 6}) })
	mustViolate(t, "S18", "segment 6", func() { l.assertRoomLocked(s, &AppendInfo{FirstOffset: 7, LastOffset: 1 << 32}) })
}

// A truncation of committed records is a violation unless the caller says that it is meant.
func TestTruncationOfCommittedRecordsSaysSo(t *testing.T) {
	for name, truncate := range map[string][2]func(l *Log) error{
		"at a batch": {func(l *Log) error { return l.Truncate(5) }, func(l *Log) error { return l.TruncateCommitted(5) }},
		"fully":      {func(l *Log) error { return l.TruncateFully(5) }, func(l *Log) error { return l.TruncateCommittedFully(5) }},
	} {
		t.Run(name, func(t *testing.T) {
			k, l := brokenLog(t)
			mustViolate(t, "S16", "high watermark 7", func() { _ = truncate[0](l) })
			if err := truncate[1](k.log()); err != nil || l.HighWatermark() != 5 || l.EndOffset() > 5 {
				t.Errorf("high watermark %d, end %d: %v", l.HighWatermark(), l.EndOffset(), err)
			}
		})
	}
}

// TestTruncationOfNothing checks truncations below the high watermark that remove no record: they
// are no violation.
func TestTruncationOfNothing(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	if err := errors.Join(l.TruncateFully(100), l.TruncateFully(97)); err != nil || l.EndOffset() != 97 || l.HighWatermark() != 97 {
		t.Errorf("end %d, high watermark %d: %v", l.EndOffset(), l.HighWatermark(), err)
	}
	fill(t, l, 3)
	commit(l)
	// All records were deleted.
	if err := errors.Join(l.AdvanceStartOffset(100), l.TruncateFully(97)); err != nil {
		t.Fatal(err)
	}
	b := batchOf(2, 1, 0)
	b.SetBaseOffset(105) // the gap before it is removed together with it
	if _, err := l.AppendAsFollower(b); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(105)
	if err := l.Truncate(105); err != nil || l.EndOffset() != 97 || l.HighWatermark() != 97 {
		t.Errorf("end %d, high watermark %d: %v", l.EndOffset(), l.HighWatermark(), err)
	}
}

func TestViolatedCheckpoint(t *testing.T) {
	k, l := brokenLog(t)
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	l.assertPromiseLocked(7)
	mustViolate(t, "S2", "cut at 6 while "+recoveryFile+" has 7", func() { l.assertPromiseLocked(6) })
	mustViolate(t, "S20", "offset 8, the end is 7", func() {
		l.offsets.hw.Store(8)
		_ = k.m.Checkpoint()
	})
}

func TestViolatedRetention(t *testing.T) {
	_, l := brokenLog(t)
	l.assertExpendableLocked(3)
	mustViolate(t, "S5", "all 4 segments", func() { l.assertExpendableLocked(4) })
	l.offsets.hw.Store(5)
	mustViolate(t, "S5", "up to 6, high watermark 5", func() { l.assertExpendableLocked(3) })
	l.offsets.hw.Store(7)
	cfg := l.Config()
	cfg.RemoteStorageEnable = true
	l.SetConfig(cfg)
	l.SetRemoteEndOffset(4)
	l.assertExpendableLocked(2)
	mustViolate(t, "S5", "remote end 4", func() { l.assertExpendableLocked(3) })
}

func TestViolatedSwap(t *testing.T) {
	_, l := brokenLog(t)
	list := l.list()
	made := func(base, end int64) *segment {
		s := l.env.newSegment(l.path(), base, l.config.Load(), epoch0)
		s.end.Store(end)
		s.indexDurable = true
		return s
	}
	g := cleanGroup{segments: list[:2], end: 4}
	if err := l.flushClosed(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.assertSwapLocked(g, made(0, 4))
	mustViolate(t, "S9", "[0, 3) takes the place of [0, 4)", func() { l.assertSwapLocked(g, made(0, 3)) })
	mustViolate(t, "S9", "[1, 4) takes the place of [0, 4)", func() { l.assertSwapLocked(g, made(1, 4)) })
	l.offsets.unstable.Store(3)
	mustViolate(t, "S8", "last stable offset 3", func() { l.assertSwapLocked(g, made(0, 4)) })
	l.offsets.unstable.Store(-1)
	l.offsets.recovery.Store(2)
	mustViolate(t, "S8", "recovery point 2", func() { l.assertSwapLocked(g, made(0, 4)) })
}

func TestViolatedIndex(t *testing.T) {
	_, l := brokenLog(t)
	s := l.list().active()
	s.index.append(10, 100)
	mustViolate(t, "S3", "an entry for 4 comes after one for 4", func() { s.index.append(10, 200) })
}

func TestOneWriterOfALog(t *testing.T) {
	_, l := brokenLog(t)
	defer l.solely("Append")()
	for name, call := range map[string]func(){
		"Append":           func() { _, _ = l.Append(batchOf(1, 1, 0), 0) },
		"AppendAsFollower": func() { _, _ = l.AppendAsFollower(nil) },
		"Truncate":         func() { _ = l.Truncate(7) },
		"TruncateFully":    func() { _ = l.TruncateFully(7) },
		"StartFromRemote":  func() { _ = l.StartFromRemote(t.Context(), RemoteState{}) },
		"Roll":             func() { _ = l.Roll() },
		"AssignEpoch":      func() { _ = l.AssignEpoch(1, 7) },
	} {
		mustViolate(t, "S19", name+" begins while Append is under way", call)
	}
}

// TestLocksHaveTheirOrder takes two locks of this package in the wrong order and expects a
// violation.
func TestLocksHaveTheirOrder(t *testing.T) {
	k, l := brokenLog(t)
	l.stable.Lock()
	defer l.stable.Unlock()
	defer func() {
		v, _ := recover().(*invariants.Violation)
		if v == nil || v.ID != invariants.LockOrder || v.Of != "Manager.mu" || !strings.Contains(v.Detail, "Log.stable is held") {
			t.Errorf("%v", v)
		}
	}()
	k.m.Log("t", 0)
}

// TestRanks checks that the locks of this package have one strict order, within its range.
func TestRanks(t *testing.T) {
	last := invariants.Rank{Order: 199}
	for _, r := range []invariants.Ranked{
		rankCleaningToken{},
		rankCleaning{},
		rankFlushToken{},
		rankCheckpointing{},
		rankManager{},
		rankMoves{},
		rankLog{},
		rankStable{},
		rankCheckpoints{},
		rankFlushQueue{},
		rankCommitter{},
		rankRound{},
		rankStrays{},
		rankTrash{},
		rankLargest{},
		rankTxnIndex{},
		rankFile{},
		rankNames{},
		rankFileCache{},
		rankRemovals{},
		rankBudget{},
		rankPacer{},
		rankStartCheckpoint{},
	} {
		rank := r.Rank()
		if rank.Order <= last.Order || rank.Order >= 300 || rank.Name == "" {
			t.Errorf("%+v comes after %+v", rank, last)
		}
		last = rank
	}
}
