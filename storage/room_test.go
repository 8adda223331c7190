package storage

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// sizedDisk is a disk whose free space the test sets.
type sizedDisk struct {
	vfs.FS

	total int64
	free  atomic.Int64
	asked int
}

func (d *sizedDisk) Space(string) (total, free int64, err error) {
	d.asked++
	return d.total, d.free.Load(), nil
}

// newRoomKit returns a log on an empty disk of total bytes, with a reserve of 1 MiB.
func newRoomKit(t *testing.T, total int64) (*kit, *sizedDisk) {
	t.Helper()
	disk := &sizedDisk{FS: vfs.NewMem(), total: total}
	disk.free.Store(total)
	k := newKit(t, disk, nil)
	k.shut()
	k.options.ReserveBytes = 1 << 20
	k.open()
	return k, disk
}

// TestAppendsLeaveRoomOnTheDisk (S7): logs leave the reserve to other users of their disk, and
// accept records again when there is room.
func TestAppendsLeaveRoomOnTheDisk(t *testing.T) {
	for name, c := range map[string]struct{ total, reserve int64 }{
		"large disk": {10 << 20, 1 << 20},
		"small disk": {4 << 20, 512 << 10},
	} {
		for how, appendTo := range map[string]func(*Log, []byte) (AppendInfo, error){
			"leader": func(l *Log, b []byte) (AppendInfo, error) {
				record.Batch(b).SetBaseOffset(0)
				return l.Append(b, 0)
			},
			"follower": (*Log).AppendAsFollower,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				k, disk := newRoomKit(t, c.total)
				l := k.log()
				next := func() []byte {
					b := batchOf(1, 40_000, epoch0.UnixMilli())
					b.SetBaseOffset(l.EndOffset())
					return b
				}
				var err error
				for err == nil && disk.free.Load() >= 0 {
					var info AppendInfo
					if info, err = appendTo(l, next()); err == nil {
						disk.free.Add(-info.Bytes)
					}
				}
				size := int64(len(next()))
				if !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrStorage) {
					t.Fatalf("%v, want ErrDiskFull", err)
				}
				if free := disk.free.Load(); free < c.reserve || free >= c.reserve+size {
					t.Errorf("%d bytes are left, want %d or a little more", free, c.reserve)
				}
				if appends := int(l.EndOffset()); disk.asked > appends/2 {
					t.Errorf("the disk was asked %d times for %d appends", disk.asked, appends)
				}
				end := l.EndOffset()
				if _, err = appendTo(l, next()); !errors.Is(err, ErrDiskFull) || l.EndOffset() != end {
					t.Errorf("at offset %d, which was %d: %v", l.EndOffset(), end, err)
				}
				disk.free.Add(size)
				if _, err = appendTo(l, next()); err != nil {
					t.Errorf("with room again: %v", err)
				}
			})
		}
	}
}

// TestOthersHaveTheMostOfWhatIsFree: only part of the free space is granted at a time, because
// others write too and the disk is not asked again before the grant is used up.
func TestOthersHaveTheMostOfWhatIsFree(t *testing.T) {
	k, disk := newRoomKit(t, 100<<20)
	fill(t, k.log(), 1)
	if granted := k.log().dir().room.granted.Load(); granted <= 0 || granted > disk.total/8 {
		t.Errorf("%d bytes were granted of %d", granted, disk.total)
	}
}

// TestCompactionLeavesRoomOnTheDisk: compaction leaves the reserve too.
func TestCompactionLeavesRoomOnTheDisk(t *testing.T) {
	disk := &sizedDisk{FS: vfs.NewMem(), total: 100 << 20}
	disk.free.Store(disk.total)
	k := newCompactKit(t, disk, nil)
	k.shut()
	k.options.ReserveBytes = 1 << 20
	k.open()
	k.put("a=1", "a=2", "b=1")
	k.makeCleanable()
	disk.free.Store(1 << 20)
	k.log().dir().room.granted.Store(0)
	if err := k.log().clean(t.Context(), k.share()); !errors.Is(err, ErrDiskFull) {
		t.Errorf("compaction: %v, want ErrDiskFull", err)
	}
	disk.free.Store(disk.total)
	k.clean()
	k.want("1:a=2", "2:b=1")
}

// TestMovesLeaveRoomOnTheDisk: moves leave the reserve of their target too.
func TestMovesLeaveRoomOnTheDisk(t *testing.T) {
	disk := &sizedDisk{FS: vfs.NewMem(), total: 100 << 20}
	disk.free.Store(disk.total)
	k := newMoveKit(t, disk)
	k.shut()
	k.options.ReserveBytes = 1 << 20
	k.open()
	l := k.log()
	from, to := l.dir(), k.otherDir(l)
	disk.free.Store(1 << 20)
	if err := k.m.Move(l.Topic(), l.Partition(), to.path); err != nil {
		t.Fatal(err)
	}
	k.tryMove(t, to)
	if l.dir() != from {
		t.Fatal("the log was moved to a disk without room")
	}
	disk.free.Store(disk.total)
	k.move(t, l)
}
