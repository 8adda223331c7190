package integration

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLostLogsComeBackFromTheBucket deletes the only log directory of a broker, but keeps its etcd
// and its bucket. After the unclean election that the operator requests, everything that was tiered
// must be there, and new records must get the offsets after it.
func TestLostLogsComeBackFromTheBucket(t *testing.T) {
	broker := startBroker(t)
	expect([]*process{broker}, uncleanElection)
	createTopic(t, newAdmin(t, broker.bootstrap), "lost", 1, "segment.bytes", "1048576", "local.retention.bytes", "1", "retention.ms", "-1")
	produce := func(prefix string, n int) {
		producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("lost"), kgo.ProducerBatchCompression(kgo.NoCompression()))
		for i := range n {
			producer.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf("%s%01000d", prefix, i)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	produce("before ", 5000)
	var tiered int64
	eventually(t, time.Minute, "most is in the bucket", func() bool {
		tiered = broker.tier(t, "lost")[0].RemoteEnd
		return tiered > 3500
	})
	broker.stop(t, syscall.SIGTERM)
	broker.startWith(t, "--set", "varve.lost.log.dirs="+emptied(t, filepath.Join(broker.dataDir, "logs")))
	broker.varve(t, "", "partition", "elect", "lost:0", "--unclean", "--yes")
	tiered = broker.tier(t, "lost")[0].RemoteEnd
	produce("after ", 500)
	client := newClient(t, broker.bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"lost": {0: kgo.NewOffset().AtStart()}}))
	next := int64(0)
	consume(t, client, int(tiered)+500, 2*time.Minute, func(r *kgo.Record) {
		want := fmt.Sprintf("before %01000d", next)
		if next >= tiered {
			want = fmt.Sprintf("after %01000d", next-tiered)
		}
		if r.Offset != next || string(r.Value) != want {
			t.Fatalf("offset %d, want %d, is %.20q, want %.20q", r.Offset, next, r.Value, want)
		}
		next++
	})
}
