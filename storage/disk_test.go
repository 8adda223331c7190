package storage

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// A write that failed on a full disk leaves the file and the log as they were (S7).
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, nil)
	l := k.log()
	fill(t, l, 3)
	size := l.Size()
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.ENOSPC, Short: 33})
	for range 3 {
		if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0); !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrStorage) {
			t.Fatal(err)
		}
	}
	if info, err := fsys.Stat(k.path("00000000000000000000.log")); err != nil || info.Size() != size {
		t.Fatalf("the file has %d bytes, want %d, %v", info.Size(), size, err)
	}
	if len(readAll(t, l, 0)) != 3 {
		t.Fatal("reading stopped")
	}
	fsys.Heal()
	fill(t, l, 2)
	if got := readAll(t, l, 0); len(got) != 5 || got[4].BaseOffset() != 4 {
		t.Fatalf("%d batches", len(got))
	}
}

// If a failed write cannot be undone, the content of the file is unknown: all logs of the directory
// stop.
func TestFailedWriteAndFailedTruncateFailTheDirectory(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, nil)
	l := k.log()
	other, err := k.m.Create("other", 0, testID)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3)
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "t-0", Err: syscall.EIO, Short: 10, Times: 1})
	fsys.Inject(vfs.Fault{Op: vfs.OpTruncate, Name: "t-0", Err: syscall.EIO, Times: 1})
	for _, log := range []*Log{l, l, other} {
		if _, err = log.Append(batchOf(1, 50, epoch0.UnixMilli()), 0); !errors.Is(err, ErrStorage) {
			t.Fatal(err)
		}
	}
	if _, err = l.Read(0, 100, 3, true); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if u := k.m.DirUsage(); u[0].Err == nil || len(u[0].Logs) != 2 {
		t.Fatalf("%+v", u)
	}
	if _, err = k.m.Create("third", 0, testID); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
}

func TestFailedWriteAloneIsUndone(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	l := newKit(t, fsys, nil).log()
	fill(t, l, 3)
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Err: syscall.EIO, Short: 70, Times: 1})
	if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	fill(t, l, 1)
	if got := readAll(t, l, 0); len(got) != 4 {
		t.Fatalf("%d batches", len(got))
	}
}

// A failed fsync is never retried, and the directory is not marked clean (S6).
func TestFailedSyncIsFailStop(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, nil)
	l := k.log()
	fill(t, l, 3)
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: ".log", Times: 1})
	if err := l.Flush(t.Context(), 3); !errors.Is(err, ErrStorage) || !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	syncs := fsys.Count(vfs.OpSync)
	if err := l.Flush(t.Context(), 3); !errors.Is(err, ErrStorage) {
		t.Fatalf("the second answer is %v", err)
	}
	if fsys.Count(vfs.OpSync) != syncs {
		t.Fatal("fsync was tried again")
	}
	if err := k.m.Close(); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if _, err := fsys.Stat("/data/" + cleanFile); err == nil {
		t.Fatal("a failed directory was marked as clean")
	}
}

// Index entries that the full disk cannot take stay in memory. No append fails because of them.
func TestFullDiskKeepsIndexEntriesInMemory(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, func(c *Config) { c.IndexIntervalBytes = 0 })
	l := k.log()
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "index", Err: syscall.ENOSPC})
	fill(t, l, 1500)
	if got := len(readAll(t, l, 0)); got != 1500 {
		t.Fatalf("%d batches", got)
	}
	if err := l.Roll(); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	fsys.Heal()
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := verifyFiles(l); err != nil {
		t.Fatal(err)
	}
	if n := l.list()[0].index.count(); n != 1499 {
		t.Fatalf("%d index entries", n)
	}
}

func TestFailedDirectorySyncIsFailStop(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, func(c *Config) { c.RetentionBytes = 0 })
	l := k.log()
	fill(t, l, 3)
	commit(l)
	fsys.Inject(vfs.Fault{Op: vfs.OpSyncDir, Name: "t-0", Times: 1})
	if _, err := l.EnforceRetention(k.clock.Now()); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if _, err := l.Append(batchOf(1, 5, epoch0.UnixMilli()), 0); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
}

// A directory that failed leaves a marker for the next process. That process reads what the disk
// has, not what the kernel still has in memory, and then trusts the directory again.
func TestFailureIsToldToTheNextProcess(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem)
	k := newKit(t, fsys, nil)
	fill(t, k.log(), 3)
	if err := k.log().Flush(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	fill(t, k.log(), 2)
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: ".log", Times: 1, Drop: true})
	if err := k.log().Flush(t.Context(), 5); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	next := k.on(mem.Clone())
	next.open()
	if got := readAll(t, next.log(), 0); len(got) != 3 {
		t.Fatalf("%d batches: those that the disk does not have are shown", len(got))
	}
	if _, err := next.fs.Stat("/data/" + failedFile); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the marker is still there: %v", err)
	}
}

// If a log's directory cannot be renamed, the log stays: otherwise a new log with its name would
// find its files.
func TestFailedDeleteLeavesTheLog(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, nil)
	fill(t, k.log(), 3)
	fsys.Inject(vfs.Fault{Op: vfs.OpRename, Times: 1})
	if err := k.m.Delete("t", 0); !errors.Is(err, ErrStorage) {
		t.Fatal(err)
	}
	if l, ok := k.m.Log("t", 0); !ok || len(readAll(t, l, 0)) != 3 {
		t.Fatal("the log is out of service")
	}
	if err := k.m.Delete("t", 0); err != nil {
		t.Fatal(err)
	}
	if end := k.log().EndOffset(); end != 0 {
		t.Fatalf("a new log ends at %d", end)
	}
}

// Retention stops at a segment that cannot be renamed. A restart would take the hole after it for
// lost data and end the log there.
func TestRetentionLeavesNoHole(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFaulty(mem)
	k := newKit(t, fsys, func(c *Config) { c.SegmentBytes = 400; c.RetentionBytes = 0 })
	fill(t, k.log(), 10)
	commit(k.log())
	fsys.Inject(vfs.Fault{Op: vfs.OpRename, Name: seg3 + extLog, Times: 1})
	if n, err := k.log().EnforceRetention(k.clock.Now()); n != 1 || !errors.Is(err, ErrStorage) {
		t.Fatalf("%d segments, %v", n, err)
	}
	next := k.on(mem.Clone())
	next.open()
	if l := next.log(); l.EndOffset() != 10 || l.LocalStartOffset() != 3 || len(readAll(t, l, 3)) != 7 {
		t.Fatalf("log from %d to %d", l.LocalStartOffset(), l.EndOffset())
	}
}
