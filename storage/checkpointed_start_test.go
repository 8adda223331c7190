package storage

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// wantStart checks that CheckpointedStartOffset is want, and that a kill leaves that log start.
func (k *kit) wantStart(want int64) {
	k.t.Helper()
	if got := k.log().CheckpointedStartOffset(); got != want {
		k.t.Errorf("checkpointed log start %d, want %d", got, want)
	}
	if got := k.killed().log().StartOffset(); got != want {
		k.t.Errorf("after a kill the log starts at %d, want %d", got, want)
	}
}

// TestCheckpointedStartIsWhatAKillLeaves deletes records and kills the broker before and after the
// checkpoint: what CheckpointedStartOffset promises survives, and nothing else is promised.
func TestCheckpointedStartIsWhatAKillLeaves(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	fill(t, k.log(), 50)
	commit(k.log())
	told := 0
	k.log().OnStartCheckpointed(func() { told++ })
	for _, start := range []int64{7, 20} {
		before := k.log().CheckpointedStartOffset()
		if err := k.log().AdvanceStartOffset(start); err != nil {
			t.Fatal(err)
		}
		k.wantStart(before)
		if err := errors.Join(k.m.Checkpoint(), k.m.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		k.wantStart(start)
	}
	if told != 2 {
		t.Errorf("told %d times, want once for each of 2 deletions", told)
	}
	k.reopen()
	k.wantStart(20)
	if err := k.log().TruncateCommittedFully(3); err != nil {
		t.Fatal(err)
	}
	k.wantStart(3)
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	k.wantStart(3)
}

// TestCheckpointThatFailsLeavesTheStart fails the write of the log start checkpoint: the start that
// survives a crash must not move.
func TestCheckpointThatFailsLeavesTheStart(t *testing.T) {
	f := vfs.NewFaulty(vfs.NewMem())
	k := newKit(t, f, nil)
	fill(t, k.log(), 9)
	commit(k.log())
	f.Inject(vfs.Fault{Op: vfs.OpRename, Name: startFile, Err: errors.New("broken")})
	if err := k.log().AdvanceStartOffset(5); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err == nil {
		t.Error("the checkpoint is written to a broken disk")
	}
	if got := k.log().CheckpointedStartOffset(); got != 0 {
		t.Errorf("checkpointed log start %d", got)
	}
}

// TestMovedLogHasItsStartInTheNewDirectory checks that a log start advanced during a move survives
// a crash only once the checkpoint of the new directory has it.
func TestMovedLogHasItsStartInTheNewDirectory(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	from := k.m.dirs[0]
	to := newDataDir(k.m.env, "/more", &Options{}, make(chan *dataDir, 1))
	l := k.log()
	fill(t, l, 9)
	commit(l)
	if err := l.AdvanceStartOffset(5); err != nil {
		t.Fatal(err)
	}
	l.beginStartCheckpoint(to) // the log is arriving there
	l.startCheckpointWritten(to)
	if got := l.CheckpointedStartOffset(); got != 0 {
		t.Errorf("the checkpoint of another directory counts: %d", got)
	}
	l.beginStartCheckpoint(from)
	l.settleIn(&place{dir: to, path: "/more/t-0"})
	// The checkpoint was being written when the log moved.
	l.startCheckpointWritten(from)
	if got := l.CheckpointedStartOffset(); got != 0 {
		t.Errorf("the checkpoint of the old directory counts: %d", got)
	}
	l.beginStartCheckpoint(to)
	// As before, but while the checkpoint of the new directory is being written.
	l.startCheckpointWritten(from)
	if got := l.CheckpointedStartOffset(); got != 0 {
		t.Errorf("the checkpoint of the old directory counts for the new one's: %d", got)
	}
	l.startCheckpointWritten(to)
	if got := l.CheckpointedStartOffset(); got != 5 {
		t.Errorf("checkpointed log start %d, want 5", got)
	}
	l.place.Store(&place{dir: from, path: "/data/t-0"})
}
