package replication

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

func TestListOffset(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	list := func(name string, ts int64, level Isolation, want storage.TimestampOffset) {
		t.Helper()
		got, err := b.ListOffset(t.Context(), ts, level, -1)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	offset := func(o int64, epoch int32) storage.TimestampOffset {
		return storage.TimestampOffset{Offset: o, Timestamp: -1, LeaderEpoch: epoch}
	}
	list("latest of an empty log", LatestTimestamp, ReadUncommitted, offset(0, 0))
	list("earliest of an empty log", EarliestTimestamp, ReadUncommitted, offset(0, 0))
	list("largest timestamp of an empty log", MaxTimestamp, ReadUncommitted, unknownOffset)
	list("any time of an empty log", 5, ReadUncommitted, unknownOffset)
	list("tier of an empty log", LatestTieredTimestamp, ReadUncommitted, unknownOffset)
	list("pending of an empty log", EarliestPendingUploadTimestamp, ReadUncommitted, offset(0, 0))

	b.fill(t, 20, 10) // timestamps 1000, 1010 …
	b.freeze(t, 10)
	// Broker 2 does not fetch, so no more records are committed.
	if err := b.lead(leads(4, 1, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.log.Append(batch(t, 5000, "uncommitted"), 4); err != nil {
		t.Fatal(err)
	}
	list("latest", LatestTimestamp, ReadUncommitted, offset(20, 4))
	list("latest stable", LatestTimestamp, ReadCommitted, offset(20, 4))
	list("end of the log", LatestTimestamp, ReadLogEnd, offset(21, 4))
	list("earliest", EarliestTimestamp, ReadUncommitted, offset(0, 0))
	list("earliest local", EarliestLocalTimestamp, ReadUncommitted, offset(10, 0))
	list("latest tiered", LatestTieredTimestamp, ReadUncommitted, offset(9, 0))
	list("earliest pending", EarliestPendingUploadTimestamp, ReadUncommitted, offset(10, 0))
	list("cold time", 1015, ReadUncommitted, storage.TimestampOffset{Offset: 2, Timestamp: 1020, LeaderEpoch: 0})
	list("hot time", 1155, ReadUncommitted, storage.TimestampOffset{Offset: 16, Timestamp: 1160, LeaderEpoch: 0})
	list("time of what is not committed", 3000, ReadUncommitted, unknownOffset)
	list("same, for a debugger", 3000, ReadLogEnd, storage.TimestampOffset{Offset: 20, Timestamp: 5000, LeaderEpoch: 4})
	list("time to come", 9000, ReadUncommitted, unknownOffset)

	b.log.SetHighWatermark(21)
	b.tier.max = storage.TimestampOffset{Offset: 9, Timestamp: 1090}
	list("largest timestamp is local", MaxTimestamp, ReadUncommitted, storage.TimestampOffset{Offset: 20, Timestamp: 5000, LeaderEpoch: 4})
	b.tier.max = storage.TimestampOffset{Offset: 7, Timestamp: 8000}
	list("largest timestamp is cold", MaxTimestamp, ReadUncommitted, b.tier.max)

	for _, before := range b.tier.before {
		if before != 10 {
			t.Errorf("the tier was asked up to offset %d, the local log begins at 10", before)
		}
	}
	b.tier.err = errors.New("no bucket")
	for _, ts := range []int64{1015, MaxTimestamp} {
		if _, err := b.ListOffset(t.Context(), ts, ReadUncommitted, -1); !errors.Is(err, ErrColdReadFailed) {
			t.Errorf("time %d without the bucket: %v", ts, err)
		}
	}
	list("hot time without the bucket", 1155, ReadUncommitted, storage.TimestampOffset{Offset: 16, Timestamp: 1160, LeaderEpoch: 0})
	list("latest without the bucket", LatestTimestamp, ReadUncommitted, offset(21, 4))
	if _, err := b.ListOffset(t.Context(), LatestTimestamp, ReadUncommitted, 3); !errors.Is(err, ErrFencedLeaderEpoch) {
		t.Errorf("old epoch: %v", err)
	}
}

// A new leader whose high watermark has not reached its epoch would report a latest offset below
// the one that its predecessor reported.
func TestNewLeaderDoesNotTellLatestTooEarly(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 2)
	if _, err := b.log.Append(batch(t, 5000, "a", "b"), 0); err != nil {
		t.Fatal(err)
	}
	b.role.Store(&role.State{Kind: role.Leader, View: leads(1, 1, 2), LeaderEpochStartOffset: 4})
	for _, ts := range []int64{LatestTimestamp, 5000} {
		if _, err := b.ListOffset(t.Context(), ts, ReadUncommitted, -1); !errors.Is(err, ErrOffsetNotAvailable) {
			t.Errorf("time %d: %v", ts, err)
		}
	}
	if got, err := b.ListOffset(t.Context(), 1010, ReadUncommitted, -1); err != nil || got.Offset != 1 {
		t.Errorf("time of what is committed: %+v, %v", got, err)
	}
	b.log.SetHighWatermark(4)
	if got, err := b.ListOffset(t.Context(), LatestTimestamp, ReadUncommitted, -1); err != nil || got.Offset != 4 {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

func TestEndOffsetForEpoch(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 3)
	if err := b.lead(leads(5, 1)); err != nil {
		t.Fatal(err)
	}
	b.fill(t, 2)
	for epoch, want := range map[int32]EpochEnd{0: {0, 3}, 3: {0, 3}, 5: {5, 5}, 6: {-1, -1}, -1: {-1, -1}} {
		got, err := b.EndOffsetForEpoch(t.Context(), epoch, -1)
		if err != nil || got != want {
			t.Errorf("epoch %d: %+v, %v; want %+v", epoch, got, err, want)
		}
	}
	if _, err := b.EndOffsetForEpoch(t.Context(), 0, 9); !errors.Is(err, ErrUnknownLeaderEpoch) {
		t.Errorf("epoch to come: %v", err)
	}
}

// deleted deletes records and waits for the outcome.
func (b *bench) deleted(t *testing.T, offset int64) (low int64, err error) {
	t.Helper()
	d, err := b.DeleteRecords(offset)
	if err != nil {
		return -1, err
	}
	b.m.WaitDeleted(t.Context(), []Deleted{d}, func(_ int, lowWatermark int64, verdict error) { low, err = lowWatermark, verdict })
	return low, err
}

func TestDeleteRecords(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	for _, c := range []struct {
		offset, want int64
		err          error
	}{
		{4, 4, nil},
		{2, 4, nil},
		{11, -1, ErrOffsetOutOfRange},
		{-2, -1, ErrOffsetOutOfRange},
		{ToHighWatermark, 10, nil},
	} {
		low, err := b.deleted(t, c.offset)
		if low != c.want || !errors.Is(err, c.err) {
			t.Errorf("below %d: %d, %v; want %d, %v", c.offset, low, err, c.want, c.err)
		}
	}
	if _, err := b.Read(t.Context(), readAt(9)); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("read what was deleted: %v", err)
	}
	cfg := *b.config.Load()
	cfg.Log.CleanupDelete, cfg.Log.CleanupCompact = false, true
	b.configure(&cfg)
	if _, err := b.deleted(t, 10); !errors.Is(err, ErrPolicy) {
		t.Errorf("compacted: %v", err)
	}
	cfg.Log.CleanupCompact = false // an empty policy has no automatic deletion
	b.configure(&cfg)
	if low, err := b.deleted(t, 10); err != nil || low != 10 {
		t.Errorf("with an empty policy: %d, %v", low, err)
	}
	b.resign(led(1, 2))
	if _, err := b.deleted(t, 10); !errors.Is(err, ErrNotLeader) {
		t.Errorf("not the leader: %v", err)
	}
}
