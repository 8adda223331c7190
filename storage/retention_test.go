package storage

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// retentionKit has a log in segments of 3 batches each, committed and flushed.
func retentionKit(t *testing.T, batches int, change func(*Config)) *kit {
	t.Helper()
	k := newKit(t, vfs.NewMem(), func(c *Config) {
		c.SegmentBytes = 3 * int64(len(batchOf(1, 50, 0)))
		c.RetentionMs = -1
		c.FileDeleteDelayMs = 1000
		if change != nil {
			change(c)
		}
	})
	fill(t, k.log(), batches)
	commit(k.log())
	if err := k.log().Flush(t.Context(), k.log().EndOffset()); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kit) retain(want int) {
	k.t.Helper()
	n, err := k.log().EnforceRetention(k.clock.Now())
	if err != nil || n != want {
		k.t.Fatalf("deleted %d segments, want %d, %v", n, want, err)
	}
}

func TestRetentionByTime(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) { c.RetentionMs = 10_000 })
	k.clock.advance(10_000*time.Millisecond + 300*time.Millisecond)
	k.retain(1) // batches at 0, 100, 200 ms
	if l := k.log(); l.StartOffset() != 3 || l.LocalStartOffset() != 3 || !slices.Equal(bases(l), []int64{3, 6}) {
		t.Fatalf("start %d, segments %v", l.StartOffset(), bases(l))
	}
	if _, err := k.log().Read(2, 100, 9, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	k.clock.advance(time.Minute)
	k.retain(2) // the active one too
	if l := k.log(); l.StartOffset() != 9 || l.EndOffset() != 9 || !slices.Equal(bases(l), []int64{9}) {
		t.Fatalf("start %d, end %d, segments %v", l.StartOffset(), l.EndOffset(), bases(l))
	}
	k.retain(0)
	k.reopen()
	if l := k.log(); l.StartOffset() != 9 || l.EndOffset() != 9 {
		t.Fatalf("log from %d to %d after a restart", l.StartOffset(), l.EndOffset())
	}
}

func TestRetentionWithoutTimestampsGoesByTheFile(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.RetentionMs = 1000 })
	mustAppend(t, k.log(), batchOf(1, 5, -1))
	commit(k.log())
	k.clock.now = time.Now() // the file system uses the machine's clock
	k.retain(0)
	k.clock.advance(time.Hour)
	k.retain(1)
}

func TestRetentionBySize(t *testing.T) {
	one := int64(len(batchOf(1, 50, 0)))
	k := retentionKit(t, 11, func(c *Config) { c.RetentionBytes = 5 * one })
	k.retain(2) // 11 batches: without two segments of 3 there are 5
	if l := k.log(); l.StartOffset() != 6 || l.Size() != 5*one {
		t.Fatalf("start %d, size %d", l.StartOffset(), l.Size())
	}
}

func TestRetentionStopsAtTheHighWatermark(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.RetentionBytes = 0 })
	fill(t, k.log(), 9)
	k.log().SetHighWatermark(5)
	k.retain(1)
	if k.log().StartOffset() != 3 {
		t.Fatal(k.log().StartOffset())
	}
	commit(k.log())
	k.retain(2)
	if l := k.log(); l.StartOffset() != 9 || l.EndOffset() != 9 {
		t.Fatalf("log from %d to %d", l.StartOffset(), l.EndOffset())
	}
}

func TestCompactedTopicKeepsOldSegments(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) { c.RetentionMs = 1; c.CleanupDelete, c.CleanupCompact = false, true })
	k.clock.advance(time.Hour)
	k.retain(0)
	if err := k.log().AdvanceStartOffset(4); err != nil {
		t.Fatal(err)
	}
	k.retain(1)
}

func TestDeleteRecords(t *testing.T) {
	k := retentionKit(t, 9, nil)
	l := k.log()
	l.offsets.hw.Store(7)
	if err := l.AdvanceStartOffset(8); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	if err := l.AdvanceStartOffset(5); err != nil {
		t.Fatal(err)
	}
	if err := l.AdvanceStartOffset(2); err != nil || l.StartOffset() != 5 {
		t.Fatalf("start %d, %v", l.StartOffset(), err)
	}
	if _, err := l.Read(4, 100, 9, true); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	k.retain(1)
	if l.LocalStartOffset() != 5 || !slices.Equal(bases(l), []int64{3, 6}) {
		t.Fatalf("local start %d, segments %v", l.LocalStartOffset(), bases(l))
	}
}

func TestLocalBytesWaitForTheObjectStore(t *testing.T) {
	k := retentionKit(t, 12, func(c *Config) {
		c.RemoteStorageEnable = true
		c.RetentionMs = -1
		c.LocalRetentionMs, c.LocalRetentionBytes = 0, 0
		c.SegmentMs = 1 << 40
	})
	l := k.log()
	k.clock.advance(time.Hour)
	k.retain(0) // it is unknown what the object store has
	for _, step := range []struct {
		remote int64
		gone   int
		local  int64
	}{{0, 0, 0}, {2, 0, 0}, {3, 1, 3}, {5, 0, 3}, {9, 2, 9}, {12, 1, 12}} {
		l.SetRemoteEndOffset(step.remote)
		k.retain(step.gone)
		if l.LocalStartOffset() != step.local || l.StartOffset() != 0 {
			t.Fatalf("remote end %d: local start %d, log start %d", step.remote, l.LocalStartOffset(), l.StartOffset())
		}
	}
	k.reopen()
	if l = k.log(); l.StartOffset() != 0 || l.LocalStartOffset() != 12 || l.EndOffset() != 12 {
		t.Fatalf("log start %d, local %d to %d after a restart", l.StartOffset(), l.LocalStartOffset(), l.EndOffset())
	}
	if err := l.AdvanceStartOffset(7); err != nil {
		t.Fatal(err)
	}
	k.reopen()
	if k.log().StartOffset() != 7 {
		t.Fatalf("log start %d after a restart", k.log().StartOffset())
	}
}

// TestTimeToComeKeepsNothingThatIsUploaded: an uploaded segment has a record with a time in the
// future. It expires by its file's time, and must not keep the segments after it.
func TestTimeToComeKeepsNothingThatIsUploaded(t *testing.T) {
	for _, remote := range []bool{true, false} {
		k := newKit(t, vfs.NewMem(), func(c *Config) {
			c.SegmentBytes, c.SegmentMs = 3*int64(len(batchOf(1, 50, 0))), 1<<40
			c.RemoteStorageEnable, c.RetentionMs, c.LocalRetentionMs, c.FileDeleteDelayMs = remote, 3600_000, 3600_000, 1000
			c.TimestampAfterMaxMs = math.MaxInt64
		})
		k.clock.now = time.Now() // the file system uses the machine's clock
		now := k.clock.now.UnixMilli()
		for i := range int64(9) {
			at := now
			if i == 1 {
				at = now + 1000*24*3600_000 // a client that mistook microseconds for milliseconds
			}
			mustAppend(t, k.log(), batchOf(1, 50, at))
		}
		commit(k.log())
		if err := k.log().Flush(t.Context(), k.log().EndOffset()); err != nil {
			t.Fatal(err)
		}
		k.log().SetRemoteEndOffset(6)
		k.retain(0)
		k.clock.advance(2 * time.Hour)
		if remote {
			k.retain(2) // not the third, which is not uploaded
		} else {
			k.retain(0) // the only copy is kept for as long as its timestamps require
		}
	}
}

func TestLocalRetentionAsRetention(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) { c.RemoteStorageEnable = true; c.RetentionMs = 3600_000; c.SegmentMs = 1 << 40 })
	k.log().SetRemoteEndOffset(9)
	k.clock.advance(59 * time.Minute)
	k.retain(0)
	k.clock.advance(2 * time.Minute)
	k.retain(3)
}

func TestRemoteCopyDisabledIsRetainedLikeALocalTopic(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) {
		c.RemoteStorageEnable, c.RemoteCopyDisable = true, true
		c.RetentionBytes = 0
		c.LocalRetentionBytes = 1 << 40
	})
	k.retain(3)
	if k.log().StartOffset() != 9 {
		t.Fatal(k.log().StartOffset())
	}
}

func TestQuietTopicRolls(t *testing.T) {
	for _, restart := range []bool{false, true} {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.RemoteStorageEnable = true; c.SegmentMs = 60_000; c.RetentionMs = -1 })
		k.clock.now = time.Now() // the file system uses the machine's clock
		mustAppend(t, k.log(), batchOf(1, 5, k.clock.Now().UnixMilli()))
		if restart {
			k.reopen()
		}
		k.retain(0)
		if n := len(bases(k.log())); n != 1 {
			t.Fatalf("%d segments", n)
		}
		k.clock.advance(61 * time.Second)
		k.retain(0)
		if got := bases(k.log()); !slices.Equal(got, []int64{0, 1}) {
			t.Fatalf("segments %v (restart %t)", got, restart)
		}
		commit(k.log())
		if err := k.log().Flush(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if closed := k.log().ClosedSegments(0); len(closed) != 1 || closed[0].EndOffset != 1 {
			t.Fatalf("closed segments %v", closed)
		}
		k.clock.advance(time.Hour) // the new one is empty and stays
		k.retain(0)
	}
}

func TestFilesOfDeletedSegmentsGoAfterTheDelay(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) { c.RetentionBytes = 0 })
	held, err := k.log().Read(0, 10_000, 9, true)
	if err != nil {
		t.Fatal(err)
	}
	k.retain(3)
	deleted := func() int {
		n := 0
		for _, name := range k.files() {
			if strings.HasSuffix(name, ".deleted") {
				n++
			}
			if strings.HasPrefix(name, seg0) && !strings.HasSuffix(name, ".deleted") {
				t.Fatalf("%s is still there", name)
			}
		}
		return n
	}
	if n := deleted(); n != 9 {
		t.Fatalf("%d deleted files, want the three of three segments", n)
	}
	k.m.env.emptyTrash(k.clock.Now())
	if n := deleted(); n != 9 {
		t.Fatalf("%d deleted files before the delay", n)
	}
	k.clock.advance(2 * time.Second)
	k.m.env.emptyTrash(k.clock.Now())
	if n := deleted(); n != 3 {
		t.Fatalf("%d deleted files, want those that a reader holds", n)
	}
	if b, err := held.AppendTo(nil); err != nil || len(b) != held.Len() {
		t.Fatalf("the held slice reads %d bytes, %v", len(b), err)
	}
	held.Release()
	k.m.env.emptyTrash(k.clock.Now())
	if n := deleted(); n != 0 {
		t.Fatalf("%d deleted files at last", n)
	}
}
