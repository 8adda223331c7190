package replication

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// replaced lets another leader's records take the place of an append that no other replica has, and
// commits them.
func (b *bench) replaced(t *testing.T, a Appended, epoch int32) {
	t.Helper()
	b.resign(led(epoch, 2, 1, 2))
	if err := b.log.Truncate(a.FirstOffset); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		other := record.Batch(batch(t, 1000, "of the next leader"))
		other.SetBaseOffset(b.log.EndOffset())
		other.SetLeaderEpoch(epoch)
		if _, err := b.log.AppendAsFollower(other); err != nil {
			t.Fatal(err)
		}
	}
	b.log.SetHighWatermark(b.log.EndOffset())
	b.watchers.wake()
}

// R3: an append that was truncated is not acknowledged, even if other records at its offsets get
// committed, and even if this broker leads again.
func TestTruncatedAppendIsNotAcknowledged(t *testing.T) {
	for name, afterwards := range map[string]func(*testing.T, *bench){
		"follower": func(*testing.T, *bench) {},
		"leader again": func(t *testing.T, b *bench) {
			t.Helper()
			if err := b.lead(leads(7, 1)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, durable := range []bool{false, true} {
			b := newBench(t, vfs.NewMem(), func(c *Config) { c.AckFsync = durable })
			if err := b.lead(leads(5, 1, 2)); err != nil {
				t.Fatal(err)
			}
			a := b.append(t, AcksAll, "mine")
			b.replaced(t, a, 6)
			afterwards(t, b)
			if done, err := a.Done(); !done || !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s, durable %t: done %t, %v", name, durable, done, err)
			}
			if err := a.Wait(t.Context()); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s, durable %t: %v", name, durable, err)
			}
		}
	}
}

// Acknowledge reports each partition's outcome as soon as it is known, so a stuck partition delays
// no other.
func TestOnePartitionsVerdictDoesNotWaitForAnothers(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	partitions := make([]*Partition, 3)
	appends := make([]Appended, len(partitions))
	for i := range partitions {
		p := b.partition(t, metadata.TopicPartition{Topic: "several", Partition: int32(i)}, *b.config.Load())
		if err := p.lead(leads(1, 1, 2)); err != nil {
			t.Fatal(err)
		}
		a, err := p.Append(batch(t, 1000, "v"), AcksAll)
		if err != nil {
			t.Fatal(err)
		}
		partitions[i], appends[i] = p, a
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type verdict struct {
		at  int
		err error
	}
	verdicts := make(chan verdict, len(appends))
	var waiting sync.WaitGroup
	waiting.Go(func() {
		Acknowledge(ctx, appends, func(i int, err error) { verdicts <- verdict{i, err} })
	})
	r := partitions[2].role.Load()
	partitions[2].fetchedBy(metadata.Member{Broker: 2}, r, 1, 0)
	if v := <-verdicts; v.at != 2 || v.err != nil {
		t.Fatalf("the partition that is committed: %+v", v)
	}
	partitions[1].resign(led(2, 2))
	if v := <-verdicts; v.at != 1 || !errors.Is(v.err, ErrNotLeader) {
		t.Fatalf("the partition that is led elsewhere: %+v", v)
	}
	cancel()
	if v := <-verdicts; v.at != 0 || !errors.Is(v.err, context.Canceled) {
		t.Fatalf("the partition that is stuck: %+v", v)
	}
	waiting.Wait()
	for i, p := range partitions {
		if n := p.watchers.n.Load(); n != 0 {
			t.Errorf("partition %d has %d watches left", i, n)
		}
	}
}

// TestImageOfTheSameStateChangesNothing (R5): a proposed ISR may have been written, and an image of
// the state before says nothing about that. The high watermark must keep waiting for the proposed
// members.
func TestImageOfTheSameStateChangesNothing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	alone := leads(5, 1, 2)
	alone.ISR, alone.PartitionEpoch = alone.ISR[:1], 3
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	follower := metadata.Member{Broker: 2, Epoch: 1}
	b.fetchedBy(follower, b.role.Load(), 0, 0)
	change, ok := b.pendingISR()
	if !ok || len(change.ISR) != 2 {
		t.Fatalf("proposed %+v", change)
	}
	b.append(t, AcksAll, "v") // the follower does not have it
	for _, partitionEpoch := range []int32{3, 2} {
		again := alone
		again.PartitionEpoch = partitionEpoch
		if err := b.lead(again); err != nil {
			t.Fatal(err)
		}
		if high := b.HighWatermark(); high != 0 {
			t.Fatalf("high watermark %d after an image of partition epoch %d; the follower may be in sync", high, partitionEpoch)
		}
	}
}

// TestEligibleReplicasHoldTheHighWatermark: an eligible replica may be elected, so no record that
// it may lack is committed, whatever min.insync.replicas this broker assumes.
func TestEligibleReplicasHoldTheHighWatermark(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	r := leads(5, 1, 2)
	r.ISR, r.Eligible = r.ISR[:1], []metadata.Member{{Broker: 2}}
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(batch(t, 1000, "v"), AcksAll); !errors.Is(err, ErrNotEnoughReplicas) {
		t.Errorf("acks=all while a replica is eligible: %v", err)
	}
	b.append(t, AcksLeader, "v")
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d while a replica is eligible", high)
	}
	r.Eligible, r.PartitionEpoch = nil, 1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	if high := b.HighWatermark(); high != 1 {
		t.Errorf("high watermark %d after nobody is eligible any more", high)
	}
}

// TestRefusedAfterUncertainSettles: after an attempt with an unknown outcome and a refusal, the
// high watermark still waits for the proposed set. Writing the present ISR again has a definite
// outcome.
func TestRefusedAfterUncertainSettles(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	alone := leads(5, 1, 2)
	alone.ISR, alone.PartitionEpoch = alone.ISR[:1], 3
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	b.fetchedBy(metadata.Member{Broker: 2, Epoch: 1}, b.role.Load(), 0, 0)
	change, _ := b.pendingISR()
	b.proposed(change, false, context.DeadlineExceeded)
	b.proposed(change, true, metadata.ErrConflict)
	settling, ok := b.pendingISR()
	if !ok || len(settling.ISR) != 1 || settling.PartitionEpoch != 3 {
		t.Fatalf("proposed %+v, %t; want the present set", settling, ok)
	}
	b.append(t, AcksLeader, "v")
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d before anything is settled", high)
	}
	b.proposed(settling, false, nil)
	alone.PartitionEpoch = 4
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	if high := b.HighWatermark(); high != 1 {
		t.Errorf("high watermark %d after the present set was written again", high)
	}
}

// TestRefusedFollowerIsNotProposedAgain: until the image changes, a refused member would be refused
// again, at every fetch.
func TestRefusedFollowerIsNotProposedAgain(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	image := &metadata.Image{Revision: 10, Brokers: map[int32]metadata.Broker{2: {ID: 2, Epoch: 1, InControlledShutdown: true}}}
	b.image = func() *metadata.Image { return image }
	alone := leads(5, 1, 2)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	fetched := func() {
		t.Helper()
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: 1}, b.role.Load(), 0, 0)
	}
	fetched()
	if change, ok := b.pendingISR(); ok {
		t.Fatalf("a broker that stops was proposed: %+v", change)
	}
	image = &metadata.Image{Revision: 11, Brokers: map[int32]metadata.Broker{2: {ID: 2, Epoch: 1}}}
	fetched()
	change, ok := b.pendingISR()
	if !ok {
		t.Fatal("nothing was proposed")
	}
	b.proposed(change, true, metadata.ErrConflict)
	fetched()
	if change, ok = b.pendingISR(); ok {
		t.Fatalf("proposed again on the same image: %+v", change)
	}
	image = &metadata.Image{Revision: 12, Brokers: image.Brokers}
	fetched()
	if _, ok = b.pendingISR(); !ok {
		t.Fatal("not proposed again on a newer image")
	}
}

// TestLeaderWithoutItsDiskKeepsTheInSyncSet: followers cannot fetch from a leader whose disk has
// failed, so they do not count as behind.
func TestLeaderWithoutItsDiskKeepsTheInSyncSet(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	b := newBench(t, disk, nil)
	b.isr = b.m.newISRWriter()
	if err := b.lead(leads(5, 1, 2)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "v")
	disk.Inject(vfs.Fault{Op: vfs.OpSync, Err: errors.New("broken disk")})
	durable := *b.config.Load()
	durable.AckFsync = true
	b.configure(&durable)
	if a, err := b.Append(batch(t, 1000, "lost"), AcksLeader); err == nil {
		err = a.Wait(t.Context())
		if !errors.Is(err, storage.ErrStorage) {
			t.Fatal(err)
		}
	}
	b.maybeShrinkISR(-time.Second)
	if change, ok := b.pendingISR(); ok {
		t.Fatalf("a leader without its disk proposed %+v", change)
	}
}

// TestDeleteRecordsWaitsForLiveReplicas: the next leader must not bring back records whose deletion
// was acknowledged.
func TestDeleteRecordsWaitsForLiveReplicas(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	// Broker 3 is dead.
	image := &metadata.Image{Revision: 10, Brokers: map[int32]metadata.Broker{1: {ID: 1}, 2: {ID: 2, Epoch: 1}}}
	b.image = func() *metadata.Image { return image }
	b.fill(t, 10)
	r := leads(5, 1, 2, 3)
	r.ISR = r.ISR[:2]
	r.ISR[1].Epoch = 1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	follower := metadata.Member{Broker: 2, Epoch: 1}
	b.fetchedBy(follower, b.role.Load(), 10, 0)
	d, err := b.DeleteRecords(4)
	if err != nil {
		t.Fatal(err)
	}
	if done, doneErr := d.Done(); done {
		t.Fatalf("done before the follower has deleted: %v", doneErr)
	}
	if low := b.lowWatermark(); low != 0 {
		t.Errorf("low watermark %d", low)
	}
	b.checkpoint(t)
	if done, doneErr := d.Done(); done {
		t.Fatalf("done when the leader alone has deleted: %v", doneErr)
	}
	b.fetchedBy(follower, b.role.Load(), 10, 4)
	if done, doneErr := d.Done(); !done || doneErr != nil {
		t.Errorf("done %t, %v after the follower has deleted", done, doneErr)
	}
	if low, err := b.deleted(t, 4); low != 4 || err != nil {
		t.Errorf("low watermark %d, %v", low, err)
	}
	image = &metadata.Image{Revision: 11, Brokers: map[int32]metadata.Broker{1: {ID: 1}, 2: {ID: 2, Epoch: 2}}}
	if done, doneErr := d.Done(); done {
		t.Errorf("done while nothing is known of what the restarted follower has: %v", doneErr)
	}
	follower.Epoch = 2
	b.fetchedBy(follower, b.role.Load(), 10, 4)
	if done, doneErr := d.Done(); !done || doneErr != nil {
		t.Errorf("done %t, %v after it has fetched", done, doneErr)
	}
	b.resign(led(6, 2))
	if done, doneErr := d.Done(); !done || !errors.Is(doneErr, ErrNotLeader) {
		t.Errorf("after a change of the leader: done %t, %v", done, doneErr)
	}
}

// TestDeleteRecordsWaitsForReplicasThatMayLead: a dead replica that is in sync or eligible may be
// elected when it returns, and would bring the records back.
func TestDeleteRecordsWaitsForReplicasThatMayLead(t *testing.T) {
	dead := metadata.Member{Broker: 2, Epoch: 1}
	for name, change := range map[string]func(b *bench, r *role.View){
		"in sync":  func(_ *bench, r *role.View) { r.ISR[1] = dead },
		"eligible": func(_ *bench, r *role.View) { r.ISR, r.Eligible = r.ISR[:1], []metadata.Member{dead} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, vfs.NewMem(), nil)
			b.fill(t, 10)
			image := &metadata.Image{Revision: 10, Brokers: map[int32]metadata.Broker{1: {ID: 1}}}
			b.image = func() *metadata.Image { return image }
			r := leads(5, 1, 2)
			change(b, &r)
			if err := b.lead(r); err != nil {
				t.Fatal(err)
			}
			d, err := b.DeleteRecords(4)
			if err != nil {
				t.Fatal(err)
			}
			b.checkpoint(t)
			if done, doneErr := d.Done(); done {
				t.Fatalf("done before the replica has deleted: %v", doneErr)
			}
			r.ISR, r.Eligible, r.PartitionEpoch = r.ISR[:1], nil, r.PartitionEpoch+1
			if err = b.lead(r); err != nil {
				t.Fatal(err)
			}
			if done, doneErr := d.Done(); !done || doneErr != nil {
				t.Errorf("done %t, %v when it cannot lead any more", done, doneErr)
			}
		})
	}
}

// checkpoint does what storage does soon after a log's start has moved.
func (b *bench) checkpoint(t *testing.T) {
	t.Helper()
	if err := b.m.o.Storage.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

// TestDeleteRecordsWaitsForTheCheckpoint: if all brokers are killed before the log start is in the
// checkpoint files, the records return. So the leader's deletion is not done before its checkpoint,
// and a follower does not report its log start before its own.
func TestDeleteRecordsWaitsForTheCheckpoint(t *testing.T) {
	disk := newStuckFS("log-start-offset-checkpoint")
	b := newBench(t, disk, nil)
	b.fill(t, 10)
	d, err := b.DeleteRecords(4)
	if err != nil {
		t.Fatal(err)
	}
	<-disk.began
	if done, doneErr := d.Done(); done {
		t.Errorf("done before the checkpoint is written: %v", doneErr)
	}
	leader := metadata.Member{Broker: 2, Epoch: 1}
	position := func() int64 {
		at, fetch := b.position(leader)
		if fetch == role.NotFollowing {
			t.Fatal("it does not follow")
		}
		return at.LogStart
	}
	b.resign(led(5, leader.Broker))
	if start := position(); start != 0 {
		t.Errorf("the follower says that its log starts at %d before the checkpoint is written", start)
	}
	if err = b.lead(leads(6, 1)); err != nil {
		t.Fatal(err)
	}
	verdict := make(chan error, 1)
	go func() {
		_, deletedErr := b.deleted(t, 4)
		verdict <- deletedErr
	}()
	close(disk.free)
	if err = <-verdict; err != nil {
		t.Error(err)
	}
	b.resign(led(7, leader.Broker))
	if start := position(); start != 4 {
		t.Errorf("the follower says that its log starts at %d", start)
	}
}

// TestFollowerTellsOfItsCheckpointAtOnce: DeleteRecords at the leader waits for the follower's
// checkpoint, so the follower hurries its next fetch.
func TestFollowerTellsOfItsCheckpointAtOnce(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	b.resign(led(5, 2))
	hurried := make(chan struct{}, 1)
	b.fetcher.Store(newReplicaFetcher(b.m.fetchers.env, fetcherKey{}, loopConn{hurry: hurried}))
	if err := b.log.AdvanceStartOffset(4); err != nil {
		t.Fatal(err)
	}
	<-hurried
	if start := b.log.CheckpointedStartOffset(); start != 4 {
		t.Errorf("hurried with the log start %d", start)
	}
}

// TestFollowerJoinsWithTheLeadersLogStart: a follower with an earlier log start would, as the next
// leader, bring deleted records back.
func TestFollowerJoinsWithTheLeadersLogStart(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.isr = b.m.newISRWriter()
	b.fill(t, 10)
	alone := leads(5, 1, 2)
	alone.ISR = alone.ISR[:1]
	if err := b.lead(alone); err != nil {
		t.Fatal(err)
	}
	if low, err := b.DeleteRecords(4); err != nil {
		t.Fatal(low, err)
	}
	for start := int64(0); start <= 4; start++ {
		b.fetchedBy(metadata.Member{Broker: 2, Epoch: 1}, b.role.Load(), 10, start)
		if _, ok := b.pendingISR(); ok != (start >= 4) {
			t.Errorf("log start %d: proposed %t", start, ok)
		}
	}
}

// TestFollowersHearOfDeletedRecordsAtOnce: DeleteRecords waits for the followers, so their waiting
// fetches are answered.
func TestFollowersHearOfDeletedRecordsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.fill(t, 10)
		r := leads(5, 1, 2)
		r.ISR = r.ISR[:1]
		if err := b.lead(r); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		results := make([]FetchResult, 1)
		var fetching sync.WaitGroup
		fetching.Go(func() {
			b.m.Fetch(t.Context(), FetchParams{
				MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Isolation: ReadLogEnd, Replica: &metadata.Member{Broker: 2, Epoch: 1},
			}, []FetchPartition{{Partition: b.Partition, Offset: 10, MaxBytes: 1 << 20, CurrentLeaderEpoch: 5, LastFetchedEpoch: -1, HighWatermark: -1}}, results)
		})
		synctest.Wait()
		if _, err := b.DeleteRecords(4); err != nil {
			t.Fatal(err)
		}
		fetching.Wait()
		if took := time.Since(began); took != 0 || results[0].LogStartOffset != 4 {
			t.Errorf("after %v: %+v", took, results[0])
		}
	})
}

// TestReadEndsWithItsRole: a read during which another leader's records replace the log must not
// report offsets of that log.
func TestReadEndsWithItsRole(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	old := b.role.Load()
	b.resign(led(1, 2))
	if err := b.log.TruncateFully(20); err != nil {
		t.Fatal(err)
	}
	// The read began under the old role.
	if _, err := b.readAs(old, readAt(5)); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("the log does not show what this test is about: %v", err)
	}
	if _, err := b.readUnder(old, readAt(5)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a read across a change of role: %v", err)
	}
}

// TestLeaderBehindTheTierServesNothing: such a leader would assign offsets that records in the
// bucket already have.
func TestLeaderBehindTheTierServesNothing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	b.tierEnd.Store(10)
	b.append(t, AcksAll, "continues the tier")
	b.tierEnd.Store(20)
	wantStorageError(t, b.Partition)
	b.resign(led(6, 2))
	if _, err := b.Read(t.Context(), ReadRequest{Offset: 5, MaxBytes: 1, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, FromFollower: true}); err != nil {
		t.Errorf("a follower that is behind the tier: %v", err)
	}
}

// TestInSyncReplicaKeepsItsCommittedRecords (R6): if the ISR has this replica, its leader must have
// the records. If the leader claims otherwise, one of the two is mistaken, and these records may be
// the last copy.
func TestInSyncReplicaKeepsItsCommittedRecords(t *testing.T) {
	for name, q := range map[string]struct {
		inSync bool
		answer func(*ReplicaFetched)
	}{
		"truncation, in sync": {true, func(f *ReplicaFetched) { f.Diverging = &EpochEnd{Epoch: 0, EndOffset: 4} }},
		"truncation":          {false, func(f *ReplicaFetched) { f.Diverging = &EpochEnd{Epoch: 0, EndOffset: 4} }},
		"restart, in sync":    {true, func(f *ReplicaFetched) { f.Err, f.LogStart = ErrOffsetOutOfRange, 2 }},
		"restart":             {false, func(f *ReplicaFetched) { f.Err, f.LogStart = ErrOffsetOutOfRange, 2 }},
	} {
		b := newBench(t, vfs.NewMem(), nil)
		b.fill(t, 10)
		r := led(6, 2, 1, 2)
		r.ISR = []metadata.Member{{Broker: 2}}
		if q.inSync {
			r.ISR = append(r.ISR, metadata.Member{Broker: 1})
		}
		b.resign(r)
		at, fetch := b.position(metadata.Member{Broker: 2, Epoch: 1})
		if fetch == role.NotFollowing {
			t.Fatal("it does not follow")
		}
		got := ReplicaFetched{RemoteEnd: -1}
		q.answer(&got)
		err := b.replicate(at, &got)
		if q.inSync {
			if !errors.Is(err, errInSync) || b.log.EndOffset() != 10 {
				t.Errorf("%s: %v, the log ends at %d", name, err, b.log.EndOffset())
			}
			continue
		}
		if counted := counterOf(t, b.metrics.truncationsBelowHigh) + counterOf(t, b.metrics.restarts); err != nil || counted != 1 {
			t.Errorf("%s: %v, counted %v", name, err, counted)
		}
	}
}

// counterOf returns the value of a counter.
func counterOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// TestNoNewsIsMissedBetweenReadAndWatch: the offsets that a fetch waits for may move after its read
// and before its watch. The last stable offset follows the high watermark a moment later, and a
// follower may wait for nothing but a higher high watermark.
func TestNoNewsIsMissedBetweenReadAndWatch(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	if err := b.lead(leads(5, 1, 2)); err != nil {
		t.Fatal(err)
	}
	b.append(t, AcksLeader, "not committed")
	follower := &metadata.Member{Broker: 2, Epoch: 1}
	for name, q := range map[string]struct {
		params FetchParams
		told   int64 // the high watermark that the follower already knows
		move   func(*FetchResult)
		want   bool
	}{
		"nothing":                            {FetchParams{Isolation: ReadCommitted}, -1, func(*FetchResult) {}, false},
		"last stable offset":                 {FetchParams{Isolation: ReadCommitted}, -1, func(r *FetchResult) { r.LastStableOffset-- }, true},
		"last stable offset, not waited for": {FetchParams{}, -1, func(r *FetchResult) { r.LastStableOffset-- }, false},
		"high watermark":                     {FetchParams{}, -1, func(r *FetchResult) { r.HighWatermark-- }, true},
		"high watermark, a follower": {
			FetchParams{Isolation: ReadLogEnd, Replica: follower}, 10, func(r *FetchResult) { r.HighWatermark-- }, true,
		},
		"high watermark, a follower that does not ask": {
			FetchParams{Isolation: ReadLogEnd, Replica: follower}, -1, func(r *FetchResult) { r.HighWatermark-- }, false,
		},
		"log start, a follower": {FetchParams{Isolation: ReadLogEnd, Replica: follower}, -1, func(r *FetchResult) { r.LogStartOffset-- }, true},
		"log end, a follower":   {FetchParams{Isolation: ReadLogEnd, Replica: follower}, -1, func(r *FetchResult) { r.end-- }, true},
	} {
		f := &delayedFetch{
			params:     q.params,
			partitions: []FetchPartition{{Partition: b.Partition, Offset: 11, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, HighWatermark: q.told}},
			results:    make([]FetchResult, 1),
		}
		f.read(t.Context(), 0)
		q.move(&f.results[0])
		if got := f.moved(0); got != q.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
