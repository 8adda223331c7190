package storage

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// TestTruncateTakesTheCleanedOffsetDown: after a crash the cleaner's checkpoint may be above the
// flushed offset. A truncation in between must lower it all the same: the next records at these
// offsets were never compacted.
func TestTruncateTakesTheCleanedOffsetDown(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.CleanupCompact = true })
	l := k.log()
	fill(t, l, 9)
	if err := l.Flush(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	l.offsets.flushed.Store(2) // as in a recovery checkpoint a few seconds old
	l.cleaning.upTo.Store(8)
	if err := k.m.noteCleaned(l); err != nil {
		t.Fatal(err)
	}
	if err := l.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if got := l.cleaning.upTo.Load(); got != 5 {
		t.Errorf("clean up to %d, and the log ends at 5", got)
	}
	written, err := l.dir().readCheckpoint(k.fs, cleanerFile)
	if err != nil || written[l.key] != 5 {
		t.Errorf("the checkpoint says %d, %v", written[l.key], err)
	}
}

// TestTruncateTakesTheRemoteEndDown: above a truncation this log will have other records than the
// object store.
func TestTruncateTakesTheRemoteEndDown(t *testing.T) {
	for name, cut := range map[string]func(l *Log) error{
		"at a batch": func(l *Log) error { return l.Truncate(4) },
		"fully":      func(l *Log) error { return l.TruncateFully(4) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newKit(t, vfs.NewMem(), nil).log()
			fill(t, l, 9)
			l.SetRemoteEndOffset(6)
			if err := cut(l); err != nil {
				t.Fatal(err)
			}
			if got := l.RemoteEndOffset(); got != 4 {
				t.Fatalf("the object store has all below %d", got)
			}
		})
	}
}

// TestCleanShutdownAfterTruncationWritesASnapshot: a log is emptied and grows again to an offset at
// which it had a snapshot before. The snapshot is gone, and a clean shutdown must write one.
func TestCleanShutdownAfterTruncationWritesASnapshot(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	for i := range int32(4) {
		mustAppend(t, l, batchOf(1, 1500, epoch0.UnixMilli(), producer(7, 0, i)))
	}
	if err := l.Roll(); err != nil { // with a snapshot at 4
		t.Fatal(err)
	}
	if err := l.TruncateFully(0); err != nil {
		t.Fatal(err)
	}
	for i := range int32(4) {
		mustAppend(t, l, batchOf(1, 1500, epoch0.UnixMilli(), producer(7, 0, i)))
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.fs.Stat(k.path(fileName(4, extSnapshot))); err != nil {
		t.Fatal(err)
	}
}

// TestIndexTailIsAPage: the index entries in memory take a page at most (S10).
func TestIndexTailIsAPage(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes = 0 }).log()
	fill(t, l, 2000)
	s := l.list().active()
	for name, x := range map[string]*sparseIndex{"offsets": &s.index.sparseIndex, "times": &s.times.sparseIndex} {
		if n := len(x.tail.Load().buf); n > indexTailMax {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

// TestTruncateTakesTheStartDown: a log that is truncated below its start begins there, because log
// start must not be above the end (S15).
func TestTruncateTakesTheStartDown(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	fill(t, l, 10)
	commit(l)
	if err := l.AdvanceStartOffset(5); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateCommitted(2); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "after a kill"} {
		if start, end := l.StartOffset(), l.EndOffset(); start != 2 || end != 2 {
			t.Errorf("%s: the log is [%d, %d), want [2, 2)", when, start, end)
		}
		k = k.killed()
		l = k.log()
	}
}

// TestCheckpointBesideATruncation: a checkpoint written while a truncation lowers log start must
// not have the old one.
func TestCheckpointBesideATruncation(t *testing.T) {
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := newKit(t, fsys, nil)
	l := k.log()
	fill(t, l, 9)
	commit(l)
	if err := errors.Join(l.AdvanceStartOffset(8), k.m.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	times := 0
	fsys.step = func(what string) {
		if what == "remove "+k.path(fileName(3, extLog)) { // before the log begins there
			times++
			if err := l.dir().checkpoint(mem, []*Log{l}); err != nil {
				t.Error(err)
			}
		}
	}
	if err := l.TruncateCommittedFully(3); err != nil {
		t.Fatal(err)
	}
	fsys.step = func(string) {}
	fill(t, l, 2)
	if err := l.Flush(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	left := k.on(mem.Clone())
	left.open()
	if l = left.log(); times == 0 || l.StartOffset() != 3 || l.EndOffset() != 5 {
		t.Errorf("after %d checkpoints and a kill the log is [%d, %d)", times, l.StartOffset(), l.EndOffset())
	}
}
