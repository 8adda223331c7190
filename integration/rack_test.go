package integration

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchedFrom counts the bytes of fetch responses by broker.
type fetchedFrom struct {
	mu    sync.Mutex
	bytes map[int32]int
}

var _ kgo.HookBrokerRead = (*fetchedFrom)(nil)

func (f *fetchedFrom) OnBrokerRead(meta kgo.BrokerMetadata, key int16, n int, _, _ time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if key == int16(kmsg.Fetch) && err == nil {
		f.bytes[meta.NodeID] += n
	}
}

// TestConsumersReadInTheirRack has a consumer in each of three racks read a topic that is partly
// only in the bucket (KIP-392). Each must get all of it in order, existing and new records, and
// almost all of it from the broker in its rack, until that broker is killed.
func TestConsumersReadInTheirRack(t *testing.T) {
	brokers := startClusterOf(t, func(node int) []string {
		return []string{
			"--rack", fmt.Sprintf("r%d", node), "--set", "log.retention.check.interval.ms=200",
			"--set", "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector",
		}
	})
	opts := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, opts...))
	configs := map[string]*string{"segment.bytes": new("1048576"), "local.retention.bytes": new("1"), "retention.ms": new("-1")}
	if _, err := admin.CreateTopic(t.Context(), 1, 3, configs, "racks"); err != nil {
		t.Fatal(err)
	}
	const each = 30_000
	producer := newClient(t, brokers[0].bootstrap, append(opts, kgo.DefaultProduceTopic("racks"), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	written := 0
	produce := func() {
		t.Helper()
		for range each {
			producer.Produce(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, "%0100d", written)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			written++
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	produce()
	eventually(t, time.Minute, "a part is only in the bucket, for the followers as well", func() bool {
		offsets, err := admin.ListCommittedOffsets(t.Context(), "racks")
		if err != nil || offsets["racks"][0].Offset != each {
			return false
		}
		for _, p := range brokers {
			if localStart(t, p, "racks-0") <= 0 {
				return false
			}
		}
		return true
	})
	for node, broker := range brokers {
		rack := fmt.Sprintf("r%d", node+1)
		from := &fetchedFrom{bytes: map[int32]int{}}
		consumer := newClient(t, broker.bootstrap, append(opts, kgo.Rack(rack), kgo.WithHooks(from),
			// Without this, the consumer stays with a dead broker for half an hour.
			kgo.RecheckPreferredReplicaInterval(time.Second),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"racks": {0: kgo.NewOffset().AtStart()}}))...)
		next := 0
		read := func() {
			t.Helper()
			consume(t, consumer, written-next, time.Minute, func(r *kgo.Record) {
				if string(r.Value) != fmt.Sprintf("%0100d", next) {
					t.Fatalf("%s: record %d is %s", rack, next, r.Value)
				}
				next++
			})
		}
		read()
		produce()
		read()
		from.mu.Lock()
		total := 0
		for _, n := range from.bytes {
			total += n
		}
		if near := from.bytes[int32(node+1)]; near*10 < total*9 {
			t.Errorf("%s: %d of %d bytes came from the broker there: %v", rack, near, total, from.bytes)
		}
		from.mu.Unlock()
		if node == len(brokers)-1 {
			brokers[node].kill9(t)
			produce()
			read()
		}
	}
}
