package replication

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// tieredBroker is a broker with a real log and a real tier, over several processes.
type tieredBroker struct {
	*cluster
	bucket objstore.Bucket
	stop   func()
}

func newTieredBroker(t *testing.T) *tieredBroker {
	t.Helper()
	bucket, err := objstore.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	return &tieredBroker{cluster: newClusterTest(t, vfs.NewMem()), bucket: bucket}
}

// process starts a process on a disk.
func (b *tieredBroker) process(fs vfs.FS) {
	b.t.Helper()
	b.fs = fs
	tiers := tiering.New(tiering.Options{Bucket: b.bucket, Store: b.store, ClusterID: b.id, BrokerID: 1, Logger: slog.New(slog.DiscardHandler)})
	b.storage = openStorage(b.t, fs, b.id)
	b.m = New(Options{
		BrokerID: 1, Storage: b.storage, Tier: tiers, Cluster: b.follower, Logger: slog.New(slog.DiscardHandler),
		Followers: Followers{BrokerEpoch: b.epoch.Load},
		Config: func(*metadata.Image, string) Config {
			cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
			cfg.Log.RemoteStorageEnable, cfg.Log.SegmentBytes, cfg.Log.LocalRetentionBytes, cfg.Log.RetentionMs = true, 1000, 1, -1
			return cfg
		},
	})
	stops := []func(){background(b.t, b.storage.Run), background(b.t, tiers.Run), background(b.t, b.m.Run)}
	b.stop = sync.OnceFunc(func() {
		for i := range stops {
			stops[len(stops)-1-i]()
		}
		_ = b.storage.Close()
	})
	b.t.Cleanup(b.stop)
}

// elect writes the partition's state: this broker is elected again, by an election that may have
// lost records.
func (b *tieredBroker) elect(id metadata.TopicID, epoch int) {
	b.t.Helper()
	value := fmt.Appendf(nil, `{"v":1,"replicas":[1],"isr":[1],"isr_epochs":[%[1]d],"leader":1,"leader_epoch":%[2]d,"leader_broker_epoch":%[1]d,"lossy_epoch":%[2]d,"partition_epoch":%[2]d}`,
		b.epoch.Load(), epoch)
	revision, err := b.store.Txn(b.t.Context(), nil, kv.Put(fmt.Sprintf("partitions/%s/0", id), value))
	if err == nil {
		_, err = b.follower.WaitRevision(b.t.Context(), revision)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// restartWithoutLogs starts the next process on an empty disk, and elects it.
func (b *tieredBroker) restartWithoutLogs(id metadata.TopicID) *Partition {
	b.t.Helper()
	b.register()
	b.elect(id, 1)
	b.process(vfs.NewMem())
	if err := b.m.Loaded(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.settle()
	return b.partition("a", 0)
}

// fill appends records until all but the newest are in the tier, and deletes the uploaded ones
// locally.
func (b *tieredBroker) fill(p *Partition, prefix string, n int) {
	b.t.Helper()
	for i := range n {
		b.append(p, fmt.Sprint(prefix, i))
	}
	for p.log.RemoteEndOffset() < p.log.EndOffset()-20 {
		time.Sleep(time.Second) // the bubble's time
	}
	if _, err := p.log.EnforceRetention(time.Now()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tieredBroker) append(p *Partition, value string) {
	b.t.Helper()
	if _, err := p.Append(batch(b.t, 1000, value), AcksAll); err != nil {
		b.t.Fatal(err)
	}
}

// read reads the values of all records.
func (b *tieredBroker) read() (all []string) {
	b.t.Helper()
	p := b.partition("a", 0)
	for next := int64(0); next < p.log.EndOffset(); {
		result := fetchAll(b.t.Context(), b.m, params(time.Second, 1), []FetchPartition{part(p, next)})[0]
		if result.Err != nil {
			b.t.Fatalf("offset %d: %v", next, result.Err)
		}
		for _, v := range values(b.t, &result.Records, next) {
			all, next = append(all, v), next+1
		}
		result.Records.Release()
	}
	return all
}

// TestLostLogGoesOnWhereTheTierEnds: all logs of the only replica are lost. After the next election
// the records in the tier are still there, and no offset is assigned twice.
func TestLostLogGoesOnWhereTheTierEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTieredBroker(t)
		b.process(vfs.NewMem())
		id := b.create("a", 1, nil)
		b.fill(b.partition("a", 0), "before ", 200)
		tierEnd := b.partition("a", 0).log.RemoteEndOffset()
		b.stop()

		p := b.restartWithoutLogs(id)
		b.until(func() bool { return p.continuesTier(p.role.Load()) })
		if p.log.EndOffset() != tierEnd || p.HighWatermark() != tierEnd {
			t.Fatalf("the log ends at %d, the high watermark is %d; the tier ends at %d", p.log.EndOffset(), p.HighWatermark(), tierEnd)
		}
		b.fill(p, "after ", 100)
		all := b.read()
		if len(all) != int(tierEnd)+100 {
			t.Fatalf("%d records, want %d", len(all), tierEnd+100)
		}
		for i, v := range all {
			want := fmt.Sprint("before ", i)
			if i >= int(tierEnd) {
				want = fmt.Sprint("after ", i-int(tierEnd))
			}
			if v != want {
				t.Fatalf("offset %d is %q, want %q", i, v, want)
			}
		}
	})
}

// TestSuspectLeaderWaitsForTheComparison: an earlier append would take the offset of a record in
// the tier.
func TestSuspectLeaderWaitsForTheComparison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTieredBroker(t)
		b.process(vfs.NewMem())
		id := b.create("a", 1, nil)
		b.fill(b.partition("a", 0), "before ", 100)
		b.stop()

		faults := objstoretest.NewFaults(b.bucket)
		b.bucket = faults
		back := faults.Add(objstoretest.Fault{Op: objstoretest.AnyOp})
		p := b.restartWithoutLogs(id)
		if _, err := p.Append(batch(t, 1000, "too soon"), AcksAll); err == nil || !strings.Contains(err.Error(), "has not been compared") {
			t.Fatalf("append: %v", err)
		}
		wantStorageError(t, p)
		back()
		time.Sleep(time.Minute) // the bubble's time
		b.append(p, "in time")
		if all := b.read(); all[len(all)-1] != "in time" || all[0] != "before 0" {
			t.Errorf("the first record is %q, the last %q", all[0], all[len(all)-1])
		}
	})
}
