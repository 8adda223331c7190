package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// victim is a log of three segments that is damaged while no broker runs. Each segment has a batch
// of the idempotent producer 5, one of a transaction of producer 7, and the marker that aborts it.
// The last batch opens a transaction of producer 8.
type victim struct {
	t       *testing.T
	k       *kit // not opened
	batches []record.Batch
	aborted []AbortedTxn
	epochs  []EpochEntry
	trusted bool // some segments are below the recovery point and not scanned
}

// How the broker ended before the damage.
const (
	killed  = "killed"  // nothing was flushed
	flushed = "flushed" // killed; everything below victimRecovery is durable
	clean   = "clean"
)

var endings = []string{killed, flushed, clean}

const (
	victimEnd      = 10
	victimRecovery = 8 // within the active segment
)

func victimTime(offset int64) int64 { return epoch0.UnixMilli() + 100*(offset+1) }

func victimBatch(offset int64) record.Batch {
	ts, turn := victimTime(offset), int32(offset/3)
	var b record.Batch
	switch {
	case offset == victimEnd-1:
		b = batchOf(1, 50, ts, producer(8, 0, 0), func(b *record.Builder) { b.Transactional = true })
	case offset%3 == 0:
		b = batchOf(1, 50, ts, producer(5, 0, turn))
	case offset%3 == 1:
		b = batchOf(1, 50, ts, producer(7, 0, turn), func(b *record.Builder) { b.Transactional = true })
	default: // its timestamp is before all others
		b = marker(offset, 7, record.ControlAbort)
	}
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(int32(offset / 4))
	return b
}

func newVictim(t *testing.T, ending string, change func(*Config)) *victim {
	t.Helper()
	k := newKit(t, vfs.NewMem(), func(c *Config) {
		c.IndexIntervalBytes = 0
		c.RetentionMs = 3600_000
		if change != nil {
			change(c)
		}
	})
	v := &victim{t: t, trusted: ending != killed}
	l := k.log()
	for offset := range int64(victimEnd) {
		if offset%3 == 0 && offset > 0 && offset < victimEnd-1 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.AppendAsFollower(victimBatch(offset)); err != nil {
			t.Fatal(err)
		}
		if ending == flushed && offset == victimRecovery-1 {
			commit(l)
			if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
				t.Fatal(err)
			}
			if err := k.m.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	v.batches = readAll(t, l, 0)
	v.epochs = slices.Clone(l.EpochEntries())
	var err error
	if v.aborted, err = l.AbortedTransactions(0, victimEnd); err != nil || len(v.aborted) != 3 {
		t.Fatalf("%v, %v", v.aborted, err)
	}
	if ending == clean {
		if err = k.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v.k = k.dead()
	return v
}

// checkIntact opens the log, which must have everything up to end, and checks all that follows from
// its batches.
func (v *victim) checkIntact(end int64) {
	v.t.Helper()
	v.k.open()
	v.checkContent(end)
	v.checkUse(end)
}

func (v *victim) checkContent(end int64) {
	t, l := v.t, v.k.log()
	t.Helper()
	if l.EndOffset() != end || l.StartOffset() != 0 {
		t.Fatalf("log from %d to %d, want 0 to %d", l.StartOffset(), l.EndOffset(), end)
	}
	commit(l)
	if n, err := l.EnforceRetention(v.k.clock.Now()); n != 0 || err != nil {
		t.Fatalf("retention deleted %d segments, %v", n, err)
	}
	want := v.batches[:end]
	if got := readAll(t, l, 0); !slices.EqualFunc(got, want, sameBatch) {
		t.Fatalf("%d batches, or others than before, want %d", len(got), len(want))
	}
	var newest TimestampOffset
	for offset := range end {
		if got := readAll(t, l, offset); len(got) != int(end-offset) || !bytes.Equal(got[0], want[offset]) {
			t.Fatalf("read at %d gives %d batches", offset, len(got))
		}
		ts := want[offset].MaxTimestamp()
		if ts != victimTime(offset) {
			continue
		}
		newest = TimestampOffset{Offset: offset, Timestamp: ts, LeaderEpoch: want[offset].LeaderEpoch()}
		if at, ok, err := l.OffsetForTimestamp(ts - 10); err != nil || !ok || at != newest {
			t.Fatalf("time of offset %d is found at %+v (%t, %v)", offset, at, ok, err)
		}
	}
	if at, ok, err := l.MaxTimestamp(); err != nil || ok != (end > 0) || (ok && at != newest) {
		t.Fatalf("max timestamp is %+v (%t, %v), want %+v", at, ok, err, newest)
	}
	epochs := slices.DeleteFunc(slices.Clone(v.epochs), func(e EpochEntry) bool { return e.StartOffset >= end })
	if !slices.Equal(l.EpochEntries(), epochs) {
		t.Fatalf("epochs %v, want %v", l.EpochEntries(), epochs)
	}
	aborted := slices.DeleteFunc(slices.Clone(v.aborted), func(a AbortedTxn) bool { return a.LastOffset >= end })
	if got, err := l.AbortedTransactions(0, end); err != nil || !slices.Equal(got, aborted) {
		t.Fatalf("aborted %v, want %v (%v)", got, aborted, err)
	}
	stable := end
	if end > 0 && want[end-1].IsTransactional() && !want[end-1].IsControl() {
		stable = end - 1
	}
	if got := l.LastStableOffset(); got != stable {
		t.Fatalf("last stable offset %d, want %d", got, stable)
	}
}

// checkUse appends, truncates into a closed segment and restarts in both ways.
func (v *victim) checkUse(end int64) {
	t, l := v.t, v.k.log()
	t.Helper()
	if end > 0 {
		last := (end - 1) / 3 * 3
		if last == victimEnd-1 {
			last -= 3
		}
		again := batchOf(1, 50, victimTime(last), producer(5, 0, int32(last/3)))
		if info := mustAppend(t, l, again); !info.Duplicate || info.FirstOffset != last {
			t.Fatalf("batch %d again: %+v", last, info)
		}
	}
	next := func(at int64) record.Batch {
		return batchOf(1, 50, victimTime(victimEnd+at), producer(5, 0, int32((at+2)/3)))
	}
	want := v.batches[:end:end]
	appendNext := func() {
		t.Helper()
		b := next(int64(len(want)))
		if len(want) == victimEnd {
			b = batchOf(1, 50, victimTime(victimEnd+victimEnd), producer(5, 0, 3))
		}
		if info := mustAppend(t, l, b); info.FirstOffset != int64(len(want)) {
			t.Fatalf("appended at %d, want %d", info.FirstOffset, len(want))
		}
		want = append(want, b)
	}
	check := func(what string) {
		t.Helper()
		l = v.k.log()
		if got := readAll(t, l, 0); !slices.EqualFunc(got, want, sameBatch) {
			t.Fatalf("%s: %d batches, or others, want %d", what, len(got), len(want))
		}
		ts := want[len(want)-1].MaxTimestamp()
		if at, ok, err := l.OffsetForTimestamp(ts); err != nil || !ok || at.Offset != int64(len(want)-1) {
			t.Fatalf("%s: the newest time is found at %+v (%t, %v)", what, at, ok, err)
		}
	}
	appendNext()
	check("append")
	v.k.reopen()
	check("restart")
	if end > 4 {
		if err := l.TruncateCommitted(4); err != nil {
			t.Fatal(err)
		}
		want = want[:4:4]
		appendNext()
		check("truncation")
	}
	v.k = v.k.killed()
	check("kill")
	if !v.trusted { // trusted files are not repaired
		if err := verifyFiles(l); err != nil {
			t.Fatal(err)
		}
	}
}

// replace replaces a file's content; nil removes the file.
func (k *kit) replace(name string, b []byte) {
	k.t.Helper()
	if err := k.fs.Remove(k.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.t.Fatal(err)
	}
	if b != nil {
		k.create(name, b)
	}
}

func sameBatch(a, b record.Batch) bool { return bytes.Equal(a, b) }

// positions returns where the batches of a segment begin.
func positions(b []byte) []int {
	var at []int
	n := 0
	for batch := range eachBatch(b) {
		at = append(at, n)
		n += len(batch)
	}
	return at
}

// settleDisk makes everything below a directory durable.
func settleDisk(t *testing.T, fsys vfs.FS, dir string) {
	t.Helper()
	eachFile(t, fsys, dir, func(name string) error { return vfs.SyncFile(fsys, name) })
}

// settleNames makes all names below a directory durable, but no content.
func settleNames(t *testing.T, fsys vfs.FS, dir string) {
	t.Helper()
	eachFile(t, fsys, dir, func(string) error { return nil })
}

func eachFile(t *testing.T, fsys vfs.FS, dir string, visit func(name string) error) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			eachFile(t, fsys, name, visit)
		} else if err = visit(name); err != nil {
			t.Fatal(err)
		}
	}
	if err = errors.Join(fsys.SyncDir(dir), fsys.SyncDir(filepath.Dir(dir))); err != nil {
		t.Fatal(err)
	}
}
