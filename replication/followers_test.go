package replication

import (
	"context"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// A proposal of which nobody learns what became of it may be made for as long as the store is away: what the leader keeps of it is bounded.
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
	if n := len(b.followers.wider); n != 2 {
		t.Errorf("100 proposals of the same two members keep %d", n)
	}
}
