package storage

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/varvelog/varve/vfs"
)

func preallocating(c *Config) { c.Preallocate, c.SegmentBytes = true, 10_000 }

// reserved returns the disk space that a segment's .log takes.
func (k *kit) reserved(base int64) int64 {
	k.t.Helper()
	n, err := k.mem().Reserved(k.path(fileName(base, extLog)))
	if err != nil {
		k.t.Fatal(err)
	}
	return n
}

func (k *kit) length(base int64) int64 {
	k.t.Helper()
	info, err := k.fs.Stat(k.path(fileName(base, extLog)))
	if err != nil {
		k.t.Fatal(err)
	}
	return info.Size()
}

func TestPreallocateReservesTheActiveSegmentOnly(t *testing.T) {
	k := newKit(t, vfs.NewMem(), preallocating)
	l := k.log()
	fill(t, l, 3)
	if k.reserved(0) != 10_000 || k.length(0) != l.Size() {
		t.Fatalf("%d bytes are reserved, the length is %d", k.reserved(0), k.length(0))
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if k.reserved(0) != k.length(0) {
		t.Errorf("a closed segment keeps %d bytes", k.reserved(0))
	}
	if k.reserved(3) != 0 {
		t.Errorf("a segment without batches takes %d bytes", k.reserved(3))
	}
	fill(t, l, 1)
	if k.reserved(3) != 10_000 {
		t.Errorf("%d bytes are reserved", k.reserved(3))
	}
	c := l.Config()
	c.Preallocate = false
	l.SetConfig(c)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	if k.reserved(4) != k.length(4) || k.reserved(3) != k.length(3) {
		t.Errorf("once it is off %d and %d bytes are reserved", k.reserved(3), k.reserved(4))
	}
}

func TestPreallocatedSpaceIsGivenBackAtTheEnd(t *testing.T) {
	k := newKit(t, vfs.NewMem(), preallocating)
	fill(t, k.log(), 3)
	dead := k.dead()
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if k.reserved(0) != k.length(0) {
		t.Errorf("after a shutdown %d bytes are reserved", k.reserved(0))
	}
	// After a crash the active segment keeps the space that it had reserved.
	dead.open()
	if dead.log().EndOffset() != 3 || dead.reserved(0) != 10_000 {
		t.Errorf("after a crash the end is %d, and %d bytes are reserved", dead.log().EndOffset(), dead.reserved(0))
	}
	if err := dead.m.Close(); err != nil {
		t.Fatal(err)
	}
	if dead.reserved(0) != dead.length(0) {
		t.Errorf("after a shutdown that followed a crash %d bytes are reserved", dead.reserved(0))
	}
}

func TestFullDiskAtPreallocation(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, preallocating)
	l := k.log()
	fill(t, l, 3)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	fsys.Inject(vfs.Fault{Op: vfs.OpPreallocate, Err: syscall.ENOSPC, Times: 2})
	for range 2 {
		_, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0)
		if !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrStorage) || !strings.Contains(err.Error(), "preallocate 10000 bytes") {
			t.Fatal(err)
		}
	}
	if got := readAll(t, l, 0); len(got) != 3 || l.EndOffset() != 3 {
		t.Fatalf("%d batches", len(got))
	}
	fill(t, l, 1)
	if got := readAll(t, l, 0); len(got) != 4 {
		t.Fatalf("%d batches", len(got))
	}
	fsys.Inject(vfs.Fault{Op: vfs.OpPreallocate, Err: syscall.EOPNOTSUPP})
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1) // a volume that cannot reserve space is no error
}

// TestZerosBehindTheLogAreCut: a segment preallocated by Kafka ends in zeros if the broker was not
// shut down, or if the trim was lost. Recovery must cut them off and keep every batch.
func TestZerosBehindTheLogAreCut(t *testing.T) {
	for _, clean := range []bool{false, true} {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 1000 })
		fill(t, k.log(), 12) // at least two segments
		size, active := k.log().Size(), k.log().list().active().base
		if clean {
			if err := k.m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		next := k.dead()
		next.edit(fileName(active, extLog), func(b []byte) []byte { return append(b, make([]byte, 50_000)...) })
		next.open()
		l := next.log()
		if l.EndOffset() != 12 || l.Size() != size || next.length(active) != l.list().active().size.Load() {
			t.Errorf("clean %t: end %d, size %d, want 12 and %d", clean, l.EndOffset(), l.Size(), size)
		}
		fill(t, l, 5)
		if got := readAll(t, l, 0); len(got) != 17 {
			t.Errorf("clean %t: %d batches", clean, len(got))
		}
		if err := verifyFiles(l); err != nil {
			t.Errorf("clean %t: %v", clean, err)
		}
	}
}
