package storage

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// pressureKit returns three logs with segments of three batches each. The segments of the logs
// alternate in time, one minute each. The disk has no size until a test sets one.
func pressureKit(t *testing.T, change func(*Config)) (*kit, *vfs.Mem, [3]*Log) {
	t.Helper()
	mem := vfs.NewMem()
	k := newKit(t, mem, func(c *Config) {
		c.SegmentBytes = 3 * int64(len(batchOf(1, 1000, 0)))
		c.RetentionMs, c.RemoteStorageEnable = -1, true
		if change != nil {
			change(c)
		}
	})
	marks := Watermarks{High: 0.8, Low: 0.6}
	k.m.options.Watermarks = func() Watermarks { return marks }
	var logs [3]*Log
	for i := range logs {
		l, err := k.m.Create("t", int32(i), testID)
		if err != nil {
			t.Fatal(err)
		}
		logs[i] = l
	}
	minute := int64(0)
	for range 5 {
		for _, l := range logs {
			for range 3 {
				mustAppend(t, l, batchOf(1, 1000, epoch0.UnixMilli()+minute*60_000))
			}
			minute++
		}
	}
	for _, l := range logs {
		mustAppend(t, l, batchOf(1, 1000, epoch0.UnixMilli()+minute*60_000))
		commit(l)
		if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
			t.Fatal(err)
		}
	}
	return k, mem, logs
}

func (k *kit) relieve() { k.m.relieve(k.t.Context(), k.m.dirs[0]) }

// fillTo sets the size of the disk so that the fraction used of it is in use.
func fillTo(mem *vfs.Mem, used float64) {
	total, free, _ := mem.Space("/data") // without a size, total is the bytes in use
	mem.SetSize(int64(float64(total-free) / used))
}

func allBases(logs [3]*Log) string {
	var all [][]int64
	for _, l := range logs {
		all = append(all, bases(l))
	}
	return fmt.Sprint(all)
}

// The oldest segments of all logs are deleted first, until the low watermark is reached. Segments
// that are not in the object store stay, and so does the log start.
func TestFullDiskLosesTheOldestUploadedSegments(t *testing.T) {
	k, mem, logs := pressureKit(t, nil)
	for _, l := range logs {
		l.SetRemoteEndOffset(9) // three segments of each log
	}
	before := allBases(logs)
	mem.SetSize(1 << 30)
	fillTo(mem, 0.79)
	if k.relieve(); allBases(logs) != before {
		t.Fatalf("segments are %s below the high watermark", allBases(logs))
	}
	fillTo(mem, 0.9)
	// A third of the bytes is deleted: a little more than five of fifteen segments and three tails.
	k.relieve()
	total, free, _ := mem.Space("/data")
	if used := float64(total-free) / float64(total); used > 0.6 || used < 0.5 {
		t.Errorf("the disk is full to %.2f, want 0.6: segments are %s", used, allBases(logs))
	}
	gone := [3]int{}
	for i, l := range logs {
		gone[i] = int(l.LocalStartOffset() / 3)
		if l.StartOffset() != 0 {
			t.Errorf("the log start is %d", l.StartOffset())
		}
	}
	if gone[0] < gone[1] || gone[1] < gone[2] || gone[0] > gone[2]+1 {
		t.Errorf("%v segments have gone, not the oldest ones: %s", gone, allBases(logs))
	}
	if !slices.Contains(bases(logs[0]), 9) {
		t.Errorf("a segment has gone that is in no object store: %s", allBases(logs))
	}
	k.relieve()
	if again := [3]int{int(logs[0].LocalStartOffset() / 3), int(logs[1].LocalStartOffset() / 3), int(logs[2].LocalStartOffset() / 3)}; again != gone {
		t.Errorf("below the high watermark more has gone: %v", again)
	}
}

// A disk on which nothing may be deleted is reported as full. Segments that exist only here are
// never deleted, nor is an active segment, even if all of it is in the object store.
func TestFullDiskKeepsWhatIsNotUploaded(t *testing.T) {
	k, mem, logs := pressureKit(t, nil)
	logs[0].SetRemoteEndOffset(2)
	logs[1].SetRemoteEndOffset(16) // all of the log
	mem.SetSize(1 << 30)
	fillTo(mem, 1)
	k.relieve()
	if got, want := allBases(logs), "[[0 3 6 9 12 15] [15] [0 3 6 9 12 15]]"; got != want {
		t.Errorf("segments are %s, want %s", got, want)
	}
	if !k.m.dirs[0].full.Load() {
		t.Error("the directory is not said to be full")
	}
	if _, err := logs[0].Append(batchOf(1, 50, epoch0.UnixMilli()), 0); err != nil {
		t.Errorf("there is space again: %v", err)
	}
	mem.SetSize(1 << 30)
	if k.relieve(); k.m.dirs[0].full.Load() {
		t.Error("the directory is still said to be full")
	}
}

// With uploads paused, retention would move the log start together with the segments. Disk pressure
// must not.
func TestFullDiskMovesNoLogStart(t *testing.T) {
	k, mem, logs := pressureKit(t, func(c *Config) { c.RemoteCopyDisable = true })
	for _, l := range logs {
		l.SetRemoteEndOffset(15)
	}
	mem.SetSize(1 << 30)
	fillTo(mem, 0.95)
	k.relieve()
	if logs[0].LocalStartOffset() == 0 || logs[0].StartOffset() != 0 {
		t.Errorf("local start is %d, log start %d", logs[0].LocalStartOffset(), logs[0].StartOffset())
	}
}

// Files of deleted segments are removed first, without waiting for file.delete.delay.ms.
func TestFullDiskRemovesDeletedFilesFirst(t *testing.T) {
	k, mem, logs := pressureKit(t, func(c *Config) { c.FileDeleteDelayMs = 3600_000 })
	for _, l := range logs[:2] {
		l.SetRemoteEndOffset(15)
	}
	if err := k.m.Delete("t", 2); err != nil {
		t.Fatal(err)
	}
	mem.SetSize(1 << 30)
	fillTo(mem, 0.85)
	k.relieve()
	if got := bases(logs[0]); got[0] != 0 {
		t.Errorf("segments are %v: a deleted log has more", got)
	}
}

// Watermarks may be in bytes, and may be absent.
func TestWatermarks(t *testing.T) {
	k, mem, _ := pressureKit(t, nil)
	mem.SetSize(1 << 30)
	total, free, err := mem.Space("/data")
	used := total - free
	if err != nil || used == 0 {
		t.Fatal(used, err)
	}
	for want, marks := range map[int64]Watermarks{
		used - 1000: {High: float64(used), Low: 1000},
		0:           {High: float64(used) + 1, Low: 1000},
		used:        {High: 1e-9, Low: 0},
	} {
		k.m.options.Watermarks = func() Watermarks { return marks }
		if got := k.m.excess(k.m.dirs[0]); got != want {
			t.Errorf("%+v: %d bytes are too many, want %d", marks, got, want)
		}
	}
	k.m.options.Watermarks = func() Watermarks { return Watermarks{} }
	if got := k.m.excess(k.m.dirs[0]); got != 0 {
		t.Errorf("without watermarks %d bytes are too many", got)
	}
}

// A disk without space refuses appends, and accepts them again once there is space.
func TestMemIsFull(t *testing.T) {
	mem := vfs.NewMem()
	k := newKit(t, mem, nil)
	fill(t, k.log(), 1)
	fillTo(mem, 1)
	if _, err := k.log().Append(batchOf(1, 5000, epoch0.UnixMilli()), 0); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("append to a full disk: %v", err)
	}
	mem.SetSize(1 << 20)
	fill(t, k.log(), 1)
	k.clock.advance(time.Second)
}
