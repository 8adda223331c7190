package replication

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

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

// syncGate is a file system on which a sync of a log does not return until n logs are synced at the
// same time.
type syncGate struct {
	vfs.FS
	began chan struct{}
	free  chan struct{}
}

func (g *syncGate) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := g.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &gatedFile{f, g}, nil
}

type gatedFile struct {
	vfs.File
	gate *syncGate
}

func (f *gatedFile) Sync() error {
	f.gate.began <- struct{}{}
	<-f.gate.free
	return f.File.Sync()
}

// answersConn is a leader that gives one answer to each fetch.
type answersConn struct {
	answer func(*ReplicaFetch) []ReplicaFetched
}

func (c answersConn) Fetch(_ context.Context, r *ReplicaFetch) ([]ReplicaFetched, error) {
	return c.answer(r), nil
}
func (answersConn) Hurry() {}
func (answersConn) Close() {}

// TestLogsAreCutInParallel: after an election every log that follows the new leader may have to be
// cut, and each waits for the disk. They wait at the same time, and the others do not wait for
// them.
func TestLogsAreCutInParallel(t *testing.T) {
	const logs = 20
	gate := &syncGate{FS: vfs.NewMem(), began: make(chan struct{}, 1000), free: make(chan struct{})}
	b := newBench(t, gate, nil)
	leader := metadata.Member{Broker: 2, Epoch: 1}
	b.m.fetchers.env.o.BrokerEpoch = func() int64 { return 1 }
	one := b.others(t, logs)
	var f *replicaFetcher
	f = newReplicaFetcher(b.m.fetchers.env, fetcherKey{leader: leader}, answersConn{func(*ReplicaFetch) []ReplicaFetched {
		answers := make([]ReplicaFetched, len(f.asked))
		for at, p := range f.asked {
			answers[at] = ReplicaFetched{At: at, HighWatermark: 1, Diverging: &EpochEnd{Epoch: 4, EndOffset: 1}}
			if p == b.Partition {
				answers[at].Diverging = nil
			}
		}
		return answers
	}})
	for _, p := range one {
		at := &bench{Partition: p, m: b.m, tier: b.tier}
		at.follows(6)
		at.copied(t, 4, "committed")
		at.copied(t, 5, "of nobody else")
		f.add(p)
	}
	if wait := f.prepare(); wait != 0 {
		t.Fatalf("nothing to fetch for %v", wait)
	}
	fetched := make(chan error, 1)
	go func() { fetched <- f.fetch(t.Context()) }()
	timeout := time.After(20 * time.Second)
	for n := range logs {
		select {
		case <-gate.began:
		case <-timeout:
			close(gate.free)
			t.Fatalf("%d of %d logs wait for the disk at the same time", n, logs)
		}
	}
	if high := b.log.HighWatermark(); high != 1 {
		t.Errorf("the log that is not cut waits for the others: high watermark %d", high)
	}
	close(gate.free)
	if err := <-fetched; err != nil {
		t.Fatal(err)
	}
	for _, p := range one[1:] {
		if end := p.log.EndOffset(); end != 1 {
			t.Errorf("%s ends at %d, want 1", p.tp, end)
		}
	}
}
