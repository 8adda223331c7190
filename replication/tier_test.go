package replication

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

var _ tier = (*tiering.Manager)(nil)

// With the real parts: segments are uploaded without a trigger, the local disk is emptied after
// them, and fetches, lookups by time and the log start show one log.
func TestTwoTiersAreOneLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterTest(t, vfs.NewMem())
		bucket, err := objstore.Open(t.Context(), "mem://")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = bucket.Close() })
		tiers := tiering.New(tiering.Options{Bucket: bucket, Store: c.store, ClusterID: c.id, BrokerID: 1, Logger: slog.New(slog.DiscardHandler)})
		c.storage = openStorage(t, c.fs, c.id)
		c.m = New(Options{
			BrokerID: 1, Storage: c.storage, Tier: tiers, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler),
			Followers: Followers{BrokerEpoch: c.epoch.Load},
			Config: func(*metadata.Image, string) Config {
				cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
				cfg.Log.RemoteStorageEnable, cfg.Log.SegmentBytes, cfg.Log.LocalRetentionBytes, cfg.Log.RetentionMs = true, 1000, 1, -1
				return cfg
			},
		})
		background(t, c.storage.Run) // only flushed segments are uploaded
		background(t, tiers.Run)
		background(t, c.m.Run)
		c.create("a", 1, nil)
		p := c.partition("a", 0)
		const n = 200
		for i := range n {
			if _, err = p.Append(batch(t, 1000+int64(i), fmt.Sprint(i)), AcksAll); err != nil {
				t.Fatal(err)
			}
		}
		for p.log.RemoteEndOffset() < n/2 {
			time.Sleep(time.Second) // the bubble's time
		}
		if _, err = p.log.EnforceRetention(time.Now()); err != nil {
			t.Fatal(err)
		}
		local := p.log.LocalStartOffset()
		if status, ok := p.TierStatus(); !ok || status.EndOffset < n/2 || local < n/2 || p.log.StartOffset() != 0 {
			t.Fatalf("tier %+v, local log from %d", status, local)
		}
		next := int64(0)
		for fetches := 0; next < n && fetches < 10*n; fetches++ {
			asked := []FetchPartition{part(p, next)}
			result := fetchAll(t.Context(), c.m, params(time.Second, 1), asked)[0]
			if result.Err != nil {
				t.Fatal(result.Err)
			}
			for _, v := range values(t, &result.Records, next) {
				if v != fmt.Sprint(next) {
					t.Fatalf("%s at offset %d", v, next)
				}
				next++
			}
			result.Records.Release()
		}
		if next != n {
			t.Errorf("read up to %d of %d", next, n)
		}
		for _, ts := range []int64{1000, 1003, 1000 + local - 1, 1000 + local, 1000 + n - 1} {
			if found, listErr := p.ListOffset(t.Context(), ts, ReadUncommitted, -1); listErr != nil || found.Offset != ts-1000 || found.Timestamp != ts {
				t.Errorf("time %d: %+v, %v", ts, found, listErr)
			}
		}
		if _, err = p.DeleteRecords(50); err != nil {
			t.Fatal(err)
		}
		if found, listErr := p.ListOffset(t.Context(), 1000, ReadUncommitted, -1); listErr != nil || found.Offset != 50 {
			t.Errorf("first time after records were deleted: %+v, %v", found, listErr)
		}
	})
}

// Only flushed segments are uploaded: the tier gets a Kick when a segment is closed, and another
// one after it is on disk if it was not.
func TestTierHearsOfAFlushedSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), func(c *Config) { c.Log.SegmentBytes = 300 })
		var flushed int64 // flushed offset at the latest Kick
		b.tier.kicked = func() { flushed = b.log.FlushedOffset() }
		b.log.OnFlush(b.flushed)
		for i := range 5 {
			if _, err := b.Append(batch(t, 1000+int64(i), "a value"), AcksLeader); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		b.tier.mu.Lock()
		defer b.tier.mu.Unlock()
		if flushed == 0 || flushed < b.log.ClosedSegments(0)[0].EndOffset {
			t.Fatalf("told when offset %d was flushed", flushed)
		}
	})
}
