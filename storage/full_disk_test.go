package storage

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// fullDisk returns a log with segments of three batches on a disk without a free block. Writes and
// opens of files fail until the test heals the disk.
func fullDisk(t *testing.T, batches int, change func(*Config)) (*kit, *vfs.Faulty) {
	t.Helper()
	faulty := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, faulty, func(c *Config) {
		c.SegmentBytes = 3 * int64(len(batchOf(1, 50, 0)))
		c.FileDeleteDelayMs = 0
		change(c)
	})
	fill(t, k.log(), batches)
	commit(k.log())
	if err := k.log().Flush(t.Context(), k.log().EndOffset()); err != nil {
		t.Fatal(err)
	}
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpOpen, vfs.OpMkdir} {
		faulty.Inject(vfs.Fault{Op: op, Err: syscall.ENOSPC})
	}
	return k, faulty
}

// The object store was unavailable until the disk was full. Now it has all closed segments. The
// active one is due to be closed, which needs space: that must not keep the others from being
// deleted.
func TestFullDiskIsFreedOfUploadedSegments(t *testing.T) {
	k, faulty := fullDisk(t, 8, func(c *Config) {
		c.RemoteStorageEnable, c.LocalRetentionMs, c.SegmentMs = true, 1000, 3600_000
	})
	l := k.log()
	if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	l.SetRemoteEndOffset(6)
	k.clock.advance(2 * time.Hour)
	n, err := l.EnforceRetention(k.clock.Now())
	if n != 2 || !errors.Is(err, ErrDiskFull) {
		t.Fatalf("deleted %d segments, want 2; %v", n, err)
	}
	if got := bases(l); !slices.Equal(got, []int64{6}) {
		t.Fatalf("segments %v", got)
	}
	k.m.env.emptyTrash(k.clock.Now())
	// The deletion has freed space.
	faulty.Heal()
	fill(t, l, 1)
}

// Retention asks to delete everything. That requires a new active segment, which needs space. All
// segments except the active one must be deleted anyway.
func TestFullDiskIsFreedOfAllButTheActiveSegment(t *testing.T) {
	for name, expire := range map[string]func(k *kit) error{
		"by age": func(k *kit) error { k.clock.advance(time.Hour); return nil },
		"by DeleteRecords": func(k *kit) error {
			return k.log().AdvanceStartOffset(k.log().EndOffset())
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, faulty := fullDisk(t, 8, func(c *Config) { c.RetentionMs = 1000 })
			if err := expire(k); err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{2, 0} {
				n, err := k.log().EnforceRetention(k.clock.Now())
				if n != want || !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrStorage) {
					t.Fatalf("deleted %d segments, want %d; %v", n, want, err)
				}
			}
			k.m.env.emptyTrash(k.clock.Now())
			faulty.Heal()
			if n, err := k.log().EnforceRetention(k.clock.Now()); n != 1 || err != nil {
				t.Fatalf("deleted %d segments once there was space, %v", n, err)
			}
		})
	}
}
