package replication

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// TestLeaderTellsWhereLogsAre: the leader writes its own directory, and the directories that
// followers report, to the state. While a log is about to move the state names no directory for it.
func TestLeaderTellsWhereLogsAre(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	next := leads(1, 1, 2, 3)
	next.ISR[1].Epoch = 5
	if err := b.lead(next); err != nil {
		t.Fatal(err)
	}
	if !b.isr.unplaced[b.Partition] {
		t.Error("a leader of which the state does not know where its log is does not tell")
	}
	own, other := metadata.DirectoryID(b.log.DirectoryID()), metadata.DirectoryID{2}
	// written makes the proposal the state, and returns its directories.
	written := func() []metadata.DirectoryID {
		t.Helper()
		change, ok := b.pendingISR()
		if !ok {
			return nil
		}
		b.proposed(change, false, nil)
		next.PartitionEpoch++
		next.ISR = change.ISR
		if err := b.lead(next); err != nil {
			t.Fatal(err)
		}
		var directories []metadata.DirectoryID
		for _, m := range change.ISR {
			directories = append(directories, m.Directory)
		}
		return directories
	}
	fetch := func(directory metadata.DirectoryID) {
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: 5, Directory: directory}, b.role.Load(), 0, 0)
		if b.isr.unplaced[b.Partition] {
			clear(b.isr.unplaced)
			b.tellDirectory() // as place does, a moment later
		}
	}
	for i, step := range []struct {
		do   func()
		want []metadata.DirectoryID
	}{
		{func() {}, nil},
		// Nothing is known about broker 3.
		{func() { fetch(other) }, []metadata.DirectoryID{own, other, {}}},
		{func() { fetch(other); b.tellDirectory() }, nil},
		{func() { b.moving.Store(true); b.tellDirectory() }, []metadata.DirectoryID{{}, other, {}}},
		{func() { fetch(metadata.DirectoryID{}) }, []metadata.DirectoryID{{}, {}, {}}},
		{func() { b.moving.Store(false); b.tellDirectory() }, []metadata.DirectoryID{own, {}, {}}},
		{func() { fetch(metadata.DirectoryID{3}) }, []metadata.DirectoryID{own, {3}, {}}},
	} {
		step.do()
		if got := written(); !slices.Equal(got, step.want) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	b.resign(led(next.LeaderEpoch+1, 2, next.Replicas...))
	b.moving.Store(true)
	b.tellDirectory()
	if got := written(); got != nil {
		t.Errorf("a follower proposes %v", got)
	}
}

// TestMoveWaitsForTheState: a log does not move while the state names its directory.
func TestMoveWaitsForTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterTest(t, vfs.NewMem())
		c.start(nil)
		c.create("a", 1, nil)
		tp := tpOf("a", 0)
		set := func(directory metadata.DirectoryID) {
			t.Helper()
			p, _ := c.follower.Image().Partition(tp)
			self := p.Members()[0]
			self.Directory = directory
			err := c.admin.AlterISR(t.Context(), p.Members()[0], []metadata.ISRChange{{
				TopicID: c.partition("a", 0).topicID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: []metadata.Member{self},
			}})[0]
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		set(metadata.DirectoryID{7})
		var done func()
		go func() {
			var err error
			if done, err = c.m.Moving(t.Context(), "a", 0); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if p := c.partition("a", 0); done != nil || !p.directory().IsZero() {
			t.Fatalf("it moves while the state names a directory; it says %v", p.directory())
		}
		set(metadata.DirectoryID{})
		synctest.Wait()
		if done == nil {
			t.Fatal("it does not move")
		}
		done()
		if c.partition("a", 0).directory().IsZero() {
			t.Error("the directory is not told after the move")
		}
		if done, err := c.m.Moving(t.Context(), "b", 0); err != nil || done == nil {
			t.Errorf("a log without a partition: %v", err)
		}
	})
}

// TestAnyReplicaTellsItsOwnEnd: whichever broker leads, LocalEpochEnd returns the local log's
// newest epoch and end. For an older epoch it returns the end of that epoch.
func TestAnyReplicaTellsItsOwnEnd(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	if got, err := b.LocalEpochEnd(math.MaxInt32); err != nil || got.EndOffset != 0 {
		t.Errorf("an empty log ends at %+v, %v", got, err)
	}
	b.append(t, AcksLeader, "1", "2")
	if err := b.lead(leads(3, 1)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "3")
	b.resign(led(4, metadata.NoBroker))
	for epoch, want := range map[int32]EpochEnd{math.MaxInt32: {3, 3}, 3: {3, 3}, 2: {0, 2}, 0: {0, 2}} {
		if got, err := b.LocalEpochEnd(epoch); err != nil || got != want {
			t.Errorf("epoch %d: %+v, want %+v, %v", epoch, got, want, err)
		}
	}
}
