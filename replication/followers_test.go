package replication

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// A proposal of which nobody learns what became of it may be made for as long as the store is away:
// what the leader keeps of it is bounded.
func TestRepeatedProposalsTakeNoMemory(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = newISRWriter(b.m)
	alone := leads(1, 1, 2)
	alone.isr = alone.isr[:1]
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

// TestInSyncProtocolBesideAppends: appends, fetches of followers, ticks, proposals that are written
// and images that show that come from goroutines of their own. What one of them has not told the
// others have, so that all is committed at the end.
func TestInSyncProtocolBesideAppends(t *testing.T) {
	const rounds = 300
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = newISRWriter(b.m)
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
		shown.isr, shown.partitionEpoch = change.ISR, shown.partitionEpoch+1
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
		func() { b.shrink(-1) },
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
	if end := b.log.EndOffset(); end != rounds || b.HighWatermark() != end || len(b.role.Load().isr) != 3 {
		t.Errorf("high watermark %d of %d, %+v", b.HighWatermark(), end, b.insync.Set())
	}
}
