package replication

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/vfs"
)

// A proposal with an unknown outcome may be repeated for as long as the store is away. What the
// leader keeps about it is bounded.
func TestRepeatedProposalsTakeNoMemory(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	alone := leads(1, 1, 2)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: 7}, b.role.Load(), 0, 0)
		change, ok := b.pendingISR()
		if !ok {
			t.Fatal("a follower that has everything is not proposed")
		}
		b.proposed(change, false, context.DeadlineExceeded)
		b.proposed(change, true, metadata.ErrConflict)
		if settling, open := b.pendingISR(); open {
			b.proposed(settling, true, metadata.ErrConflict)
		}
	}
	if n := len(b.insync.MaximalISR()); n != 2 {
		t.Errorf("100 proposals of the same two members keep %d", n)
	}
}

// A fetch of an earlier process of a broker may arrive after its successor's fetch: it says nothing
// about what the successor has. Nor does a fetch of the successor count for the earlier member in
// the ISR.
func TestFetchOfAnotherProcessSaysNothing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	r := leads(5, 1, 2)
	r.ISR[1].Epoch = 7
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	fetched := func(epoch, offset, want int64) {
		t.Helper()
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: epoch}, b.role.Load(), offset, 0)
		if high := b.HighWatermark(); high != want {
			t.Errorf("high watermark %d after a fetch at %d of epoch %d, want %d", high, offset, epoch, want)
		}
	}
	fetched(7, 0, 0)
	fetched(6, 1, 0)
	fetched(7, 1, 1)
	b.append(t, AcksLeader, "w")
	fetched(8, 2, 1) // the successor is not in sync
	r.ISR[1].Epoch, r.PartitionEpoch = 8, 1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	fetched(8, 2, 2)
}

// A fetch that was read before the leader was deposed, and is recorded after it leads again,
// belongs to a log that may have been truncated since.
func TestFetchOfAnEarlierLeaderEpochSaysNothing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	if err := b.lead(leads(5, 1, 2)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	before := b.role.Load()
	b.resign(led(6, 2, 1, 2))
	if err := b.lead(leads(7, 1, 2)); err != nil {
		t.Fatal(err)
	}
	b.fetchedBy(metadata.Member{Broker: 2}, before, 1, 0)
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d by a fetch of leader epoch 5", high)
	}
	b.fetchedBy(metadata.Member{Broker: 2}, b.role.Load(), 1, 0)
	if high := b.HighWatermark(); high != 1 {
		t.Errorf("high watermark %d by a fetch of this leader epoch", high)
	}
}

// A follower joins the ISR once it has all committed records, even if the leader began with fewer.
func TestFollowerJoinsWithAllThatIsCommitted(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	alone := leads(5, 1, 2)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	b.append(t, AcksLeader, "w")
	for offset, joins := range []bool{false, false, true} {
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: 7}, b.role.Load(), int64(offset), 0)
		if change, proposed := b.pendingISR(); proposed != joins {
			t.Errorf("proposed at %d of %d committed: %+v", offset, b.HighWatermark(), change)
		}
	}
}

// A follower drops an answer that arrives after another leader was elected: the answer's history
// may have ended.
func TestAnswerOfAnEarlierLeaderIsDropped(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.resign(led(5, 2, 1, 2, 3))
	at, fetch := b.position(metadata.Member{Broker: 2, Epoch: 1})
	if fetch == role.NotFollowing {
		t.Fatal("it does not follow")
	}
	answer := func() *ReplicaFetched {
		return &ReplicaFetched{Records: batch(t, 1000, "v"), HighWatermark: 1}
	}
	b.resign(led(6, 3, 1, 2, 3))
	if err := b.replicate(at, answer()); err != nil || b.log.EndOffset() != 0 || b.HighWatermark() != 0 {
		t.Errorf("an answer of leader epoch 5: end %d, high watermark %d, %v", b.log.EndOffset(), b.HighWatermark(), err)
	}
	at.LeaderEpoch = 6
	if err := b.replicate(at, answer()); err != nil || b.log.EndOffset() != 1 {
		t.Errorf("an answer of this leader epoch: end %d, %v", b.log.EndOffset(), err)
	}
}

// leadsAlone leads at epoch 5, as the only in-sync replica of 1, 2 and 3.
func leadsAlone(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	alone := leads(5, 1, 2, 3)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	return b
}

// After a set was written, and before the image shows it, nothing is proposed. Such a proposal
// would be refused, and the refusal would free the high watermark from waiting for the set.
func TestNothingIsProposedOnAStateThatIsGone(t *testing.T) {
	b := leadsAlone(t)
	b.fetchedBy(metadata.Member{Broker: 2, Epoch: 7}, b.role.Load(), 0, 0)
	change, _ := b.pendingISR()
	b.fetchedBy(metadata.Member{Broker: 3, Epoch: 8}, b.role.Load(), 0, 0)
	if again, _ := b.pendingISR(); !slices.Equal(again.ISR, change.ISR) {
		t.Errorf("proposed %+v while %+v is on its way", again, change)
	}
	b.proposed(change, false, nil)
	b.fetchedBy(metadata.Member{Broker: 3, Epoch: 8}, b.role.Load(), 0, 0)
	if again, ok := b.pendingISR(); ok {
		t.Errorf("proposed %+v while %+v is written", again, change)
	}
	b.append(t, AcksLeader, "v")
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d without a member of the set that was written", high)
	}
}

// The first fetch of a successor process advances the high watermark, even if its offset is the one
// of its predecessor's last fetch.
func TestSuccessorCountsAtOnce(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	r := leads(5, 1, 2, 3)
	r.ISR[1].Epoch, r.ISR[2].Epoch = 7, 3
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	b.fetchedBy(metadata.Member{Broker: 2, Epoch: 7}, b.role.Load(), 1, 0)
	// Broker 3 has fallen behind, and broker 2 has restarted.
	r.ISR, r.PartitionEpoch = []metadata.Member{r.ISR[0], {Broker: 2, Epoch: 8}}, 1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	b.fetchedBy(metadata.Member{Broker: 2, Epoch: 8}, b.role.Load(), 1, 0)
	if high := b.HighWatermark(); high != 1 {
		t.Errorf("high watermark %d after all in sync have the record", high)
	}
}

// A follower that has everything stays in sync, however long ago the last record was produced.
func TestFollowerAtTheEndStaysInSync(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	if err := b.lead(leads(5, 1, 2)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	b.fetchedBy(metadata.Member{Broker: 2}, b.role.Load(), 1, 0)
	const never = -time.Second // always exceeded
	b.maybeShrinkISR(never)
	if change, ok := b.pendingISR(); ok {
		t.Fatalf("proposed %+v", change)
	}
	b.append(t, AcksLeader, "w")
	b.maybeShrinkISR(never)
	if change, ok := b.pendingISR(); !ok || len(change.ISR) != 1 {
		t.Errorf("proposed %+v, %t without the follower that is behind", change, ok)
	}
}

// A record that was committed while enough replicas were in sync is not acknowledged with acks=all
// once too few are.
func TestTooFewAtTheAcknowledgement(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.MinInSyncReplicas = 2 })
	r := leads(5, 1, 2)
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	all, one := b.append(t, AcksAll, "v"), b.append(t, AcksLeader, "w")
	b.fetchedBy(metadata.Member{Broker: 2}, b.role.Load(), 2, 0)
	r.ISR, r.PartitionEpoch = r.ISR[:1], 1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	if done, err := all.Done(); !done || !errors.Is(err, ErrNotEnoughReplicasAfterAppend) {
		t.Errorf("acks=all: done %t, %v", done, err)
	}
	if done, err := one.Done(); !done || err != nil {
		t.Errorf("acks=1: done %t, %v", done, err)
	}
}

// While it is unknown whether a set was written, the high watermark waits for its members in
// addition to those of every set that is proposed later.
func TestUncertainSetIsWaitedForBesideTheNext(t *testing.T) {
	b := leadsAlone(t)
	b.fetchedBy(metadata.Member{Broker: 2, Epoch: 7}, b.role.Load(), 0, 0)
	change, _ := b.pendingISR()
	b.proposed(change, false, context.DeadlineExceeded)
	b.proposed(change, true, metadata.ErrConflict)
	settling, _ := b.pendingISR()
	b.proposed(settling, true, metadata.ErrConflict)
	b.fetchedBy(metadata.Member{Broker: 3, Epoch: 8}, b.role.Load(), 0, 0)
	if next, ok := b.pendingISR(); !ok || !slices.Contains(next.ISR, metadata.Member{Broker: 3, Epoch: 8}) {
		t.Fatalf("proposed %+v, %t", next, ok)
	}
	b.append(t, AcksLeader, "v")
	b.fetchedBy(metadata.Member{Broker: 3, Epoch: 8}, b.role.Load(), 1, 0)
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d without a member of the set that may have been written", high)
	}
}

// TestInSyncProtocolBesideAppends: appends, followers' fetches, ticks, written proposals and the
// images that show them run in goroutines of their own. Whatever one event misses a later one
// brings, so everything is committed at the end.
func TestInSyncProtocolBesideAppends(t *testing.T) {
	const rounds = 300
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	shown := leads(1, 1, 2, 3)
	if err := b.lead(shown); err != nil {
		t.Fatal(err)
	}
	first := b.role.Load()
	records := batch(t, 1000, "v")
	fetch := func(id int32) { b.fetchedBy(metadata.Member{Broker: id}, first, b.log.EndOffset(), 0) }
	write := func() {
		change, ok := b.pendingISR()
		if !ok {
			return
		}
		b.proposed(change, false, nil)
		shown.ISR, shown.PartitionEpoch = change.ISR, shown.PartitionEpoch+1
		if err := b.lead(shown); err != nil {
			t.Error(err)
		}
	}
	high := int64(0)
	var parts sync.WaitGroup
	for _, part := range []func(){
		func() {
			if _, err := b.Append(slices.Clone(records), AcksLeader); err != nil {
				t.Error(err)
			}
		},
		func() { fetch(2) },
		func() { fetch(3) },
		func() { b.maybeShrinkISR(-1) },
		write,
		func() { b.flushed(0, nil) },
		func() {
			now := b.HighWatermark()
			if end := b.log.EndOffset(); now < high || now > end {
				t.Errorf("high watermark %d after %d, the log ends at %d", now, high, end)
			}
			high = now
			b.lowWatermark()
			b.FollowerLags(func(int32, int64) {})
			b.PreferredReplica(0, func(id int32) bool { return id == 2 })
		},
	} {
		parts.Go(func() {
			for range rounds {
				part()
			}
		})
	}
	parts.Wait()
	for range 3 {
		fetch(2)
		fetch(3)
		write()
	}
	if end := b.log.EndOffset(); end != rounds || b.HighWatermark() != end || len(b.role.Load().ISR) != 3 {
		t.Errorf("high watermark %d of %d, %+v", b.HighWatermark(), end, b.insync.Set())
	}
}
