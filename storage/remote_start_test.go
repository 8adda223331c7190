package storage

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// remoteState returns the state of a log whose first ten offsets are in the object store: with two
// leader epochs and a producer.
func remoteState(t *testing.T) RemoteState {
	t.Helper()
	l := newKit(t, vfs.NewMem(), nil).log()
	for i := range int32(10) {
		if _, err := l.Append(batchOf(1, 10, epoch0.UnixMilli(), producer(7, 0, i)), 3+i/5); err != nil {
			t.Fatal(err)
		}
	}
	commit(l)
	if err := errors.Join(l.Roll(), l.Flush(t.Context(), 10)); err != nil {
		t.Fatal(err)
	}
	files, release, err := l.ClosedSegments(0)[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	producers, err := io.ReadAll(files.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return RemoteState{StartOffset: 2, EndOffset: 10, Epochs: files.LeaderEpochs, Producers: producers}
}

func tiered(c *Config) { c.RemoteStorageEnable = true }

// begun checks that a log continues at the end of a remote state, with everything in it.
func begun(t *testing.T, l *Log, what string) {
	t.Helper()
	if l.LocalStartOffset() != 10 || l.EndOffset() != 10 || l.HighWatermark() > 10 || l.StartOffset() > 2 {
		t.Fatalf("%s: log [%d, %d), local from %d, high watermark %d", what, l.StartOffset(), l.EndOffset(), l.LocalStartOffset(), l.HighWatermark())
	}
	if epoch, end := l.EndOffsetForEpoch(3); epoch != 3 || end != 5 || l.LatestEpoch() != 4 {
		t.Fatalf("%s: epoch %d ends at %d, the latest is %d", what, epoch, end, l.LatestEpoch())
	}
	if info, err := l.Append(batchOf(1, 10, epoch0.UnixMilli(), producer(7, 0, 9)), 4); err != nil || !info.Duplicate || info.FirstOffset != 9 {
		t.Fatalf("%s: the last batch again: %+v, %v", what, info, err)
	}
	if info, err := l.Append(batchOf(1, 10, epoch0.UnixMilli(), producer(7, 0, 10)), 4); err != nil || info.FirstOffset != 10 {
		t.Fatalf("%s: the next batch: %+v, %v", what, info, err)
	}
}

// TestTieredLogRemembersWhereItBegan: after a crash a tiered log must not claim offsets as uploaded
// that it never had, or that it deleted before the log start was in the checkpoint.
func TestTieredLogRemembersWhereItBegan(t *testing.T) {
	for name, c := range map[string]struct {
		act   func(t *testing.T, l *Log) error
		start int64
	}{
		"begun anew": {func(_ *testing.T, l *Log) error { return l.TruncateFully(100) }, 100},
		"deleted by a start that is not in the checkpoint": {func(t *testing.T, l *Log) error {
			t.Helper()
			fill(t, l, 4)
			commit(l)
			end := l.EndOffset()
			if err := errors.Join(l.Roll(), l.Flush(t.Context(), end), l.AdvanceStartOffset(end)); err != nil {
				return err
			}
			_, err := l.EnforceRetention(epoch0)
			return err
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			k := newKit(t, disk, tiered)
			if err := c.act(t, k.log()); err != nil {
				t.Fatal(err)
			}
			l := newKit(t, disk.CrashClone(1), tiered).log()
			if l.StartOffset() != c.start || l.LocalStartOffset() != c.start {
				t.Errorf("after a crash the log is [%d, %d), here from %d on", l.StartOffset(), l.EndOffset(), l.LocalStartOffset())
			}
		})
	}
}

// fillUploaded appends a record in each of three leader epochs and closes its segment. All of them
// are in the object store; none is flushed.
func fillUploaded(t *testing.T, l *Log) {
	t.Helper()
	for epoch := range int32(3) {
		if _, err := l.Append(batchOf(1, 10, epoch0.UnixMilli()), epoch); err != nil {
			t.Fatal(err)
		}
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	commit(l)
	l.SetRemoteEndOffset(3)
}

// TestUploadedSegmentsAreFlushedBeforeTheyGo: before a flush the leader epochs are only in the
// batches. If retention deleted these a crash would lose the epochs.
func TestUploadedSegmentsAreFlushedBeforeTheyGo(t *testing.T) {
	disk := vfs.NewMem()
	k := newKit(t, disk, func(c *Config) { c.RemoteStorageEnable, c.LocalRetentionBytes = true, 1 })
	l := k.log()
	fillUploaded(t, l)
	want := l.EpochEntries()
	retain := func(left int64) {
		t.Helper()
		if _, err := l.EnforceRetention(epoch0); err != nil || l.LocalStartOffset() != left {
			t.Errorf("the log begins at %d, want %d: %v", l.LocalStartOffset(), left, err)
		}
		if killed := newKit(t, disk.Clone(), tiered).log(); !slices.Equal(killed.EpochEntries(), want) {
			t.Errorf("after a kill the leader epochs are %v, want %v", killed.EpochEntries(), want)
		}
	}
	retain(0)
	if err := l.Flush(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	retain(2) // the last one stays: without it the log would be below the limit
}

// TestUnflushedSegmentsBelowAnUnwrittenStartStay: a crash takes the log start back, and the leader
// epochs of the segments are needed again for records that the object store has.
func TestUnflushedSegmentsBelowAnUnwrittenStartStay(t *testing.T) {
	disk := vfs.NewMem()
	l := newKit(t, disk, tiered).log()
	fillUploaded(t, l)
	want := l.EpochEntries()
	if err := l.AdvanceStartOffset(2); err != nil {
		t.Fatal(err)
	}
	if n, err := l.EnforceRetention(epoch0); n != 0 || err != nil {
		t.Errorf("%d segments are deleted: %v", n, err)
	}
	if killed := newKit(t, disk.Clone(), tiered).log(); killed.StartOffset() != 0 || !slices.Equal(killed.EpochEntries(), want) {
		t.Errorf("after a kill the log starts at %d, with leader epochs %v, want %v", killed.StartOffset(), killed.EpochEntries(), want)
	}
}

// TestRaisedStartStaysInTheCheckpoint: while a log restarts, its directory's checkpoints may be
// written for others. They must keep the raised log start.
func TestRaisedStartStaysInTheCheckpoint(t *testing.T) {
	disk := vfs.NewMem()
	k := newKit(t, disk, tiered)
	l := k.log()
	fill(t, l, 4)
	if err := errors.Join(l.Flush(t.Context(), 4), l.dir().raiseStart(disk, l.key, 100)); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if again := newKit(t, disk.CrashClone(1), tiered).log(); again.StartOffset() != 100 {
		t.Errorf("after a crash the log starts at %d", again.StartOffset())
	}
	l.dir().raisedStart(l.key)
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if again := newKit(t, disk.CrashClone(1), tiered).log(); again.StartOffset() != 0 {
		t.Errorf("after the log has not begun anew it starts at %d", again.StartOffset())
	}
}

func TestStartFromRemote(t *testing.T) {
	state := remoteState(t)
	k := newKit(t, vfs.NewMem(), tiered)
	l := k.log()
	fill(t, l, 4)
	if err := l.StartFromRemote(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if l.HighWatermark() != 10 || l.StartOffset() != 2 || l.RemoteEndOffset() != 10 {
		t.Errorf("log starts at %d, high watermark %d, remote end %d", l.StartOffset(), l.HighWatermark(), l.RemoteEndOffset())
	}
	killed := k.killed()
	begun(t, l, "at once")
	begun(t, killed.log(), "after a kill")
	k = newKit(t, vfs.NewMem(), tiered)
	if err := k.log().StartFromRemote(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	k.reopen()
	if l = k.log(); l.StartOffset() != 2 {
		t.Errorf("after a restart the log starts at %d", l.StartOffset())
	}
	begun(t, l, "after a restart")
}

func TestStartFromRemoteRefusesWhatItCannotUse(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	fill(t, l, 4)
	for _, bad := range []RemoteState{
		{StartOffset: -1, EndOffset: 3}, {StartOffset: 4, EndOffset: 3}, {EndOffset: 3, Producers: []byte("no snapshot")},
	} {
		if err := l.StartFromRemote(t.Context(), bad); !errors.Is(err, ErrCorrupt) || l.EndOffset() != 4 || len(readAll(t, l, 0)) != 4 {
			t.Errorf("%+v: %v, log end %d", bad, err, l.EndOffset())
		}
	}
}

// TestCrashAtEveryStepOfAStartFromRemote: a start that finds the log at the remote end must also
// find all that is known of the batches before it.
func TestCrashAtEveryStepOfAStartFromRemote(t *testing.T) {
	state := remoteState(t)
	mem := vfs.NewMem()
	fsys := &stepFS{Mem: mem, step: func(string) {}}
	k := newKit(t, fsys, tiered)
	l := k.log()
	for i := range int32(4) {
		mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli(), producer(8, 0, i)))
	}
	commit(l)
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli(), producer(8, 0, 4)))
	if err := l.Flush(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	before, after := 0, 0
	check := func(what string, left *vfs.Mem) {
		next := k.on(left)
		next.open()
		defer next.m.Close()
		if next.log().EndOffset() <= 5 {
			before++
			return
		}
		after++
		begun(t, next.log(), what)
	}
	var crashes []func()
	fsys.step = func(what string) {
		n := uint64(len(crashes))
		killed := mem.Clone()
		crashes = append(crashes, func() { check(what+" and a kill", killed) })
		for seed := range uint64(4) {
			cut := mem.CrashClone(n*31 + seed)
			crashes = append(crashes, func() { check(fmt.Sprintf("%s and power cut %d", what, n*31+seed), cut) })
		}
	}
	if err := l.StartFromRemote(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	fsys.step = func(string) {}
	for _, crash := range crashes {
		crash()
	}
	if before == 0 || after == 0 || len(crashes) < 50 {
		t.Errorf("of %d crashes %d were before and %d after", len(crashes), before, after)
	}
}
