package replication

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// wantStorageError checks that a partition answers ErrStorage, and is not mistaken for an empty
// one.
func wantStorageError(t *testing.T, p *Partition) {
	t.Helper()
	_, produceErr := p.Append(batch(t, 1000, "x"), AcksAll)
	_, readErr := p.Read(t.Context(), ReadRequest{MaxBytes: 100, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
	errs := map[string]error{
		"produce": produceErr, "fetch": readErr,
		"scan": p.Scan(t.Context(), func(record.Batch) error { return nil }),
	}
	for name, ts := range map[string]int64{"latest": LatestTimestamp, "earliest": EarliestTimestamp, "by time": 5, "local": EarliestLocalTimestamp} {
		_, errs[name] = p.ListOffset(t.Context(), ts, ReadUncommitted, -1)
	}
	_, errs["epoch"] = p.EndOffsetForEpoch(t.Context(), 0, -1)
	_, errs["delete records"] = p.DeleteRecords(0)
	for name, err := range errs {
		if !errors.Is(err, storage.ErrStorage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// newJBODTest has topics "a" and "b" with three records each, each topic in its own directory.
func newJBODTest(t *testing.T) (*cluster, *vfs.Faulty) {
	t.Helper()
	fsys := vfs.NewFaulty(vfs.NewMem())
	c := newClusterTest(t, fsys)
	c.dirs = []string{"/a", "/b"}
	c.start(nil)
	for _, topic := range []string{"a", "b"} {
		c.create(topic, 1, nil)
		if _, err := c.partition(topic, 0).Append(batch(t, 1000, "1", "2", "3"), AcksAll); err != nil {
			t.Fatal(err)
		}
	}
	return c, fsys
}

// Records that were appended before the leader's disk failed, and that no other replica has, are
// not committed when this leader is the last in-sync replica: they may never be readable from the
// disk.
func TestLeaderWithAFailedDiskCommitsNothing(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	b := newBench(t, fsys, nil)
	r := leads(1, 1, 2)
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	a := b.append(t, AcksAll, "1")
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: "/data", Drop: true})
	if err := b.log.Flush(t.Context(), 1); err == nil || b.log.Offline() == nil {
		t.Fatalf("the disk has not failed: %v", err)
	}
	r.ISR, r.PartitionEpoch = r.ISR[:1], r.PartitionEpoch+1
	if err := b.lead(r); err != nil {
		t.Fatal(err)
	}
	if high := b.HighWatermark(); high != 0 {
		t.Errorf("high watermark %d", high)
	}
	if done, err := a.Done(); !done || !errors.Is(err, storage.ErrStorage) {
		t.Errorf("done %t, %v", done, err)
	}
}

// A partition whose directory is missing at start is not created again in another directory. The
// rest of the broker works, and the partition returns with the directory.
func TestDirectoryIsOfflineAtStart(t *testing.T) {
	c, fsys := newJBODTest(t)
	c.shutDown()
	c.tier = newFakeTier()
	fsys.Inject(vfs.Fault{Op: vfs.OpMkdir, Name: "/b", Err: syscall.EIO})
	c.start(nil)
	c.settle()
	wantStorageError(t, c.partition("b", 0))
	if _, attached := c.tier.epochOf(tpOf("b", 0)); attached {
		t.Error("the tier was given a log that is not there")
	}
	if end := c.partition("a", 0).log.EndOffset(); end != 3 {
		t.Errorf("a ends at %d", end)
	}
	c.create("c", 2, nil)
	for number := range int32(2) {
		if _, err := c.partition("c", number).Append(batch(t, 1000, "x"), AcksAll); err != nil {
			t.Errorf("a new partition: %v", err)
		}
	}
	c.register() // whatever happens later, the partition stays offline
	c.settle()
	wantStorageError(t, c.partition("b", 0))

	c.shutDown()
	fsys.Heal()
	c.start(nil)
	c.settle()
	p := c.partition("b", 0)
	if p.log.EndOffset() != 3 || p.log.HighWatermark() != 3 {
		t.Errorf("b ends at %d, high watermark %d", p.log.EndOffset(), p.log.HighWatermark())
	}
}

// If a topic is deleted while its directory is offline, its log is a stray when the directory
// returns.
func TestTopicIsDeletedWhileItsDirectoryIsOffline(t *testing.T) {
	c, fsys := newJBODTest(t)
	c.shutDown()
	fsys.Inject(vfs.Fault{Op: vfs.OpMkdir, Name: "/b", Err: syscall.EIO})
	c.start(nil)
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "b"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	if _, ok := c.m.Partition(tpOf("b", 0)); ok {
		t.Fatal("it is still served")
	}
	c.shutDown()
	fsys.Heal()
	c.start(nil)
	c.settle()
	if _, ok := c.storage.Log("b", 0); ok {
		t.Error("the stray is still there")
	}
	if got := strayReasons(c.storage); got["b"] != role.NoTopic {
		t.Errorf("set aside: %v", got)
	}
}

func TestDirectoryFailsLater(t *testing.T) {
	c, fsys := newJBODTest(t)
	bad := c.partition("b", 0)
	fsys.Inject(vfs.Fault{Op: vfs.OpSync, Name: "/b/b-0", Err: syscall.EIO, Times: 1})
	if err := bad.log.Flush(context.Background(), 3); !errors.Is(err, storage.ErrStorage) {
		t.Fatal(err)
	}
	wantStorageError(t, bad)
	if _, err := c.partition("a", 0).Append(batch(t, 1000, "4"), AcksAll); err != nil {
		t.Errorf("the other directory: %v", err)
	}
	if err := c.admin.UpdateConfigs(t.Context(), metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: "b"},
		func(map[string]string) (map[string]string, error) {
			return map[string]string{"flush.messages": "1"}, nil
		}); err != nil {
		t.Fatal(err)
	}
	c.settle() // the change is no error, and does not bring the partition back
	wantStorageError(t, c.partition("b", 0))
	c.create("c", 1, nil)
	if _, err := c.partition("c", 0).Append(batch(t, 1000, "x"), AcksAll); err != nil {
		t.Errorf("a new partition: %v", err)
	}
	c.stop()
	if err := c.storage.Close(); !errors.Is(err, storage.ErrStorage) {
		t.Fatal(err)
	}
}
