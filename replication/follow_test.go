package replication

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// follows makes the bench a follower of broker 2 at a leader epoch.
func (b *bench) follows(epoch int32) {
	b.resign(led(epoch, 2, 1, 2, 3))
}

// copied appends records of a leader epoch as a follower does.
func (b *bench) copied(t *testing.T, epoch int32, values ...string) {
	t.Helper()
	next := record.Batch(batch(t, 1000, values...))
	next.SetBaseOffset(b.log.EndOffset())
	next.SetLeaderEpoch(epoch)
	if _, err := b.log.AppendAsFollower(next); err != nil {
		t.Fatal(err)
	}
}

// A follower truncates to the point where its history and the leader's diverge, not to its high
// watermark. The high watermark arrives late, so the records in between may be committed.
func TestTruncationStopsAtTheCommonHistory(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.follows(6)
	b.copied(t, 4, "a", "b", "c")
	b.copied(t, 5, "of nobody else")
	b.log.SetHighWatermark(1)
	at, _ := b.position(metadata.Member{Broker: 2, Epoch: 1})
	if err := b.replicate(at, &ReplicaFetched{Diverging: &EpochEnd{Epoch: 4, EndOffset: 3}}); err != nil {
		t.Fatal(err)
	}
	if end := b.log.EndOffset(); end != 3 {
		t.Errorf("the log ends at %d, want 3", end)
	}
}

// slowTier changes something while its state is read.
type slowTier struct {
	*fakeTier
	meanwhile func()
}

func (s slowTier) LatestState(ctx context.Context, tp metadata.TopicPartition) (storage.RemoteState, error) {
	s.meanwhile()
	return s.fakeTier.LatestState(ctx, tp)
}

// A log restarts at the tier's end only if that is ahead of the log, and only under the leader for
// which the state was read.
func TestRestoreChecksWhatItFinds(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.follows(6)
	b.copied(t, 4, "a", "b", "c")
	b.tier.state = storage.RemoteState{EndOffset: 2}
	if err := b.restore(t.Context()); !errors.Is(err, errNothingNew) || b.log.EndOffset() != 3 {
		t.Errorf("from a tier that is behind: end %d, %v", b.log.EndOffset(), err)
	}
	b.tier.state = storage.RemoteState{EndOffset: 5}
	b.Partition.tier = slowTier{b.tier, func() { b.follows(7) }}
	if err := b.restore(t.Context()); err != nil || b.log.EndOffset() != 3 {
		t.Errorf("under another leader: end %d, %v", b.log.EndOffset(), err)
	}
	b.Partition.tier = b.tier
	if err := b.restore(t.Context()); err != nil || b.log.EndOffset() != 5 || b.log.LocalStartOffset() != 5 {
		t.Errorf("from a tier that is ahead: end %d, %v", b.log.EndOffset(), err)
	}
}
