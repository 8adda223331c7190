package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestLostPointerIsRebuilt deletes the pointer of a partition from etcd while most of the partition
// is only in the bucket. The broker must report that and change nothing. After the rebuild
// everything must be there, and uploads must continue.
func TestLostPointerIsRebuilt(t *testing.T) {
	etcd, nats := freeAddress(t), freeAddress(t)
	runNATS(t, nats)
	runEtcd(t, t.TempDir(), etcd)
	broker := startBroker(t, "--etcd", "http://"+etcd, "--nats", "nats://"+nats, "--object-store", "file://"+filepath.Join(t.TempDir(), "bucket"))
	createTopic(t, newAdmin(t, broker.bootstrap), "lost", 1, "segment.bytes", "1048576", "local.retention.bytes", "1", "retention.ms", "-1")
	produced := 0
	produce := func(n int) {
		producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("lost"), kgo.ProducerBatchCompression(kgo.NoCompression()))
		for range n {
			producer.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf("%01000d", produced)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
			produced++
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	produce(5000)
	eventually(t, time.Minute, "most is in the bucket only", func() bool {
		row := broker.tier(t, "lost")[0]
		return row.RemoteEnd > 3500 && row.LocalStart == row.RemoteEnd
	})
	broker.stop(t, syscall.SIGTERM)
	dropPointers(t, etcd)
	broker.start(t)
	eventually(t, time.Minute, "the status names what to do", func() bool {
		return strings.Contains(broker.varve(t, "", "tier", "status", "lost"), "varve tier rebuild")
	})
	produce(1500) // more segments wait for their upload

	type rebuilt struct {
		Changed  bool   `json:"changed"`
		Manifest string `json:"manifest"`
		End      int64  `json:"end"`
	}
	rebuild := func(flag string) (r rebuilt) {
		if err := json.Unmarshal([]byte(broker.varve(t, "", "tier", "rebuild", "lost:0", flag, "--output", "json")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	look := rebuild("--dry-run")
	if again := rebuild("--dry-run"); !look.Changed || look != again || look.End <= 3500 {
		t.Errorf("a look finds %+v, and then %+v", look, again)
	}
	if did := rebuild("--yes"); did != look {
		t.Errorf("rebuilt %+v, looked at %+v", did, look)
	}
	eventually(t, time.Minute, "uploads go on", func() bool {
		row := broker.tier(t, "lost")[0]
		return row.LogStart == 0 && row.RemoteEnd > 5500 && row.LocalStart == row.RemoteEnd
	})
	if did := rebuild("--yes"); did.Changed {
		t.Errorf("a rebuild of what is well has %+v", did)
	}
	client := newClient(t, broker.bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"lost": {0: kgo.NewOffset().AtStart()}}))
	next := 0
	consume(t, client, produced, 2*time.Minute, func(r *kgo.Record) {
		if want := fmt.Sprintf("%01000d", next); r.Offset != int64(next) || string(r.Value) != want {
			t.Fatalf("offset %d, want %d, is %.20q", r.Offset, next, r.Value)
		}
		next++
	})
}

// dropPointers deletes the pointers to all remote tiers from etcd.
func dropPointers(t *testing.T, etcd string) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + etcd}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	keys, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for _, kv := range keys.Kvs {
		if strings.Contains("/"+string(kv.Key), "/tier/") {
			if _, err = client.Delete(t.Context(), string(kv.Key)); err != nil {
				t.Fatal(err)
			}
			dropped++
		}
	}
	if dropped == 0 {
		t.Fatal("etcd has no pointers")
	}
}
