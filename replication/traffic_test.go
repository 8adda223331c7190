package replication

import (
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

func TestTrafficIsCountedByTopic(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	a := b.append(t, AcksLeader, "one", "two")
	c := b.Traffic()
	if c.Topic() != "t" || c.MessagesIn.Load() != 2 || c.BytesIn.Load() != a.Bytes || a.Bytes == 0 {
		t.Errorf("appended %d records of %d bytes: %d of %d are counted", 2, a.Bytes, c.MessagesIn.Load(), c.BytesIn.Load())
	}
	fetch := func(offset int64, replica *metadata.Member) FetchResult {
		results := make([]FetchResult, 1)
		isolation := ReadUncommitted
		if replica != nil {
			isolation = ReadLogEnd
		}
		b.m.Fetch(t.Context(), FetchParams{MaxBytes: 1 << 20, Isolation: isolation, Replica: replica},
			[]FetchPartition{{Partition: b.Partition, Offset: offset, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, HighWatermark: -1}}, results)
		results[0].Records.Release()
		return results[0]
	}
	if r := fetch(0, nil); r.Err != nil {
		t.Fatal(r.Err)
	}
	if c.BytesOut.Load() != a.Bytes || c.Fetches.Load() != 1 || c.FailedFetches.Load() != 0 {
		t.Errorf("a consumer was sent %d bytes: %d are counted, in %d fetches", a.Bytes, c.BytesOut.Load(), c.Fetches.Load())
	}
	if r := fetch(99, nil); r.Err == nil {
		t.Fatal("an offset beyond the end can be read")
	}
	if c.Fetches.Load() != 2 || c.FailedFetches.Load() != 0 {
		t.Errorf("an offset out of range: %d fetches, %d failed", c.Fetches.Load(), c.FailedFetches.Load())
	}
	c.Produced(ErrNotLeader)
	c.Produced(ErrNotEnoughReplicas)
	c.Produced(nil)
	if c.Produces.Load() != 3 || c.FailedProduces.Load() != 1 {
		t.Errorf("%d partitions of Produce requests, %d failed", c.Produces.Load(), c.FailedProduces.Load())
	}
	if again := b.m.traffic.of("t", metadata.TopicID{1}); again != c {
		t.Error("partitions of a topic do not share its counters")
	}
	b.m.traffic.keep(func(metadata.TopicID) bool { return false })
	for range b.m.Traffic() {
		t.Error("a topic that has no replica here has counters")
	}
}

func TestSnapshotTellsHowManyAreInSync(t *testing.T) {
	for _, tc := range []struct {
		isr, needed     int
		under, underMin bool
		atMin           bool
	}{
		{3, 2, false, false, false},
		{2, 2, true, false, true},
		{1, 2, true, true, false},
	} {
		s := Snapshot{Replicas: []int32{1, 2, 3}, InSync: tc.isr, NeededInSync: tc.needed}
		if s.UnderReplicated() != tc.under || s.UnderMinISR() != tc.underMin || s.AtMinISR() != tc.atMin {
			t.Errorf("%d in sync, %d needed: %t %t %t", tc.isr, tc.needed, s.UnderReplicated(), s.UnderMinISR(), s.AtMinISR())
		}
	}
}
