package storage

import (
	"errors"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

func bases(l *Log) (b []int64) {
	for _, s := range l.list() {
		b = append(b, s.base)
	}
	return b
}

func TestRollBySize(t *testing.T) {
	one := int64(len(batchOf(1, 50, 0)))
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 3 * one }).log()
	fill(t, l, 7)
	if got := bases(l); !slices.Equal(got, []int64{0, 3, 6}) {
		t.Fatalf("segments %v", got)
	}
}

func TestRollByBatchTime(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentMs = 1000 }).log()
	for _, ms := range []int64{0, 1000, 1001, 2001, 2002} {
		mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli()+ms))
	}
	if got := bases(l); !slices.Equal(got, []int64{0, 2, 4}) {
		t.Fatalf("segments %v", got)
	}
}

func TestRollByClockWithoutTimestamps(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentMs = 1000 })
	l := k.log()
	mustAppend(t, l, batchOf(1, 10, -1))
	mustAppend(t, l, batchOf(1, 10, -1))
	k.clock.advance(1001 * time.Millisecond)
	mustAppend(t, l, batchOf(1, 10, -1))
	if got := bases(l); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("segments %v", got)
	}
}

func TestRollTimeSurvivesRestart(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentMs = 1000 })
	mustAppend(t, k.log(), batchOf(1, 10, epoch0.UnixMilli()))
	mustAppend(t, k.log(), batchOf(1, 10, epoch0.UnixMilli()+900))
	k.reopen()
	mustAppend(t, k.log(), batchOf(1, 10, epoch0.UnixMilli()+1001))
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("segments %v", got)
	}
}

func TestRollJitterIsBelowItsBound(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentMs, c.SegmentJitterMs = 1000, 500 })
	for range 100 {
		if s := k.m.env.newSegment("/x", 0, k.log().config.Load(), epoch0); s.jitter < 0 || s.jitter >= 500 {
			t.Fatalf("jitter %d", s.jitter)
		}
	}
}

// TestRollJitterIsBelowTheCompactionLag: the jitter of segment.ms must not use up a shorter bound,
// whether the bound is set when a segment begins or later.
func TestRollJitterIsBelowTheCompactionLag(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) {
		c.SegmentMs, c.SegmentJitterMs = 7*24*3600_000, 3600_000
		c.CleanupCompact, c.MaxCompactionLagMs = true, 1000
	})
	for range 100 {
		if s := k.m.env.newSegment("/x", 0, k.log().config.Load(), epoch0); s.jitter >= 1000 {
			t.Fatalf("jitter %d", s.jitter)
		}
	}
	l := k.log()
	fill(t, l, 1)
	l.list().active().jitter = 3600_000 - 1 // drawn before the bound was set
	fill(t, l, 1)
	if got := bases(l); !slices.Equal(got, []int64{0}) {
		t.Fatalf("segments %v after 100 ms", got)
	}
}

func TestRollWhenIndexIsFull(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes, c.SegmentIndexBytes = 0, 4*timeEntrySize }).log()
	fill(t, l, 12)
	if got := bases(l); !slices.Equal(got, []int64{0, 5, 10}) {
		t.Fatalf("segments %v", got)
	}
}

func TestRollWhenOffsetsAreTooFarFromTheBase(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	for _, offset := range []int64{7, 7 + math.MaxInt32, 1 << 40} {
		b := batchOf(1, 10, epoch0.UnixMilli())
		b.SetBaseOffset(offset)
		if _, err := l.AppendAsFollower(b); err != nil {
			t.Fatal(err)
		}
	}
	if got := bases(l); !slices.Equal(got, []int64{0, 8, 1 << 40}) {
		t.Fatalf("segments %v", got)
	}
	k.reopen()
	if got := readAll(t, k.log(), 0); len(got) != 3 || got[2].BaseOffset() != 1<<40 {
		t.Fatalf("%d batches", len(got))
	}
}

func TestFarOffsetReplacesAnEmptySegment(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	b := batchOf(1, 10, epoch0.UnixMilli())
	b.SetBaseOffset(1 << 40)
	if _, err := k.log().AppendAsFollower(b); err != nil {
		t.Fatal(err)
	}
	k.reopen()
	if got := bases(k.log()); !slices.Equal(got, []int64{1 << 40}) || k.log().EndOffset() != 1<<40+1 {
		t.Fatalf("segments %v", got)
	}
}

// TestSegmentBegunInVainGivesWay: a follower begins a segment far above its end, the write fails,
// and the next leader has records in between.
func TestSegmentBegunInVainGivesWay(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, disk, nil)
	fill(t, k.log(), 3)
	b := batchOf(1, 10, epoch0.UnixMilli())
	b.SetBaseOffset(1 << 40)
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Name: fileName(1<<40, extLog), Times: 1, Err: syscall.ENOSPC})
	if _, err := k.log().AppendAsFollower(b); err == nil || k.log().EndOffset() != 3 {
		t.Fatalf("the write did not fail: %v, end %d", err, k.log().EndOffset())
	}
	b.SetBaseOffset(5)
	if _, err := k.log().AppendAsFollower(b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := readAll(t, k.log(), 0); len(got) != 4 || got[3].BaseOffset() != 5 {
			t.Fatalf("%d batches in segments %v", len(got), bases(k.log()))
		}
		k.reopen()
	}
}

func TestRolledEmptyEndSurvivesRestart(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 3)
	if err := k.log().Roll(); err != nil {
		t.Fatal(err)
	}
	if err := k.log().Roll(); err != nil { // the empty one stays
		t.Fatal(err)
	}
	k.reopen()
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 3}) || k.log().EndOffset() != 3 {
		t.Fatalf("segments %v, end %d", got, k.log().EndOffset())
	}
}

func TestFailedRollLeavesTheLogAsItWas(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, fsys, func(c *Config) { c.SegmentBytes = 300 })
	l := k.log()
	fill(t, l, 2)
	fsys.Inject(vfs.Fault{Op: vfs.OpOpen, Name: "00002.log", Err: syscall.ENOSPC})
	if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), 0); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if l.EndOffset() != 2 || len(l.list()) != 1 {
		t.Fatalf("end %d, %d segments", l.EndOffset(), len(l.list()))
	}
	fsys.Heal()
	fill(t, l, 1)
	if got := bases(l); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("segments %v", got)
	}
}
