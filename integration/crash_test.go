package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Every record acknowledged with acks=all and flush on is there after kill -9
// under load, in order, once, and offsets go on where they were.
func TestKillNineLosesNothing(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 30
	}
	const partitions = 4
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "crash", partitions, "flush.messages", "1", "segment.bytes", "1048576")

	var mu sync.Mutex
	acked := map[int32]map[int64]string{} // partition → offset → value
	for p := range int32(partitions) {
		acked[p] = map[int64]string{}
	}
	producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("crash"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordDeliveryTimeout(2*time.Minute), kgo.RetryTimeout(2*time.Minute), kgo.MaxBufferedRecords(2000))
	ctx, stop := context.WithCancel(t.Context())
	var producing sync.WaitGroup
	sent := 0
	producing.Go(func() {
		for ; ctx.Err() == nil; sent++ {
			r := &kgo.Record{Partition: int32(sent % partitions), Value: fmt.Appendf(nil, "%0200d", sent)}
			producer.Produce(t.Context(), r, func(r *kgo.Record, err error) { //nolint:contextcheck // ctx ends the loop, not what is on its way
				if err != nil {
					t.Errorf("produce: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				acked[r.Partition][r.Offset] = string(r.Value)
			})
		}
	})
	count := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range acked {
			n += len(p)
		}
		return n
	}
	for range rounds {
		before := count()
		eventually(t, time.Minute, "some thousand records are acknowledged", func() bool { return count() > before+3000 })
		broker.kill9(t)
		broker.start(t)
	}
	stop()
	producing.Wait()
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	client := newClient(t, broker.bootstrap, kgo.ConsumeTopics("crash"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	last, next := map[int32]string{}, map[int32]int64{}
	consume(t, client, sent, 2*time.Minute, func(r *kgo.Record) {
		if r.Offset != next[r.Partition] {
			t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, next[r.Partition]-1)
		}
		next[r.Partition]++
		if value := string(r.Value); value <= last[r.Partition] {
			t.Fatalf("partition %d offset %d: %s after %s: twice or out of order", r.Partition, r.Offset, value, last[r.Partition])
		}
		last[r.Partition] = string(r.Value)
		if want, ok := acked[r.Partition][r.Offset]; ok && want != string(r.Value) {
			t.Fatalf("partition %d offset %d: %s was acknowledged, %s is there", r.Partition, r.Offset, want, r.Value)
		}
		delete(acked[r.Partition], r.Offset)
	})
	if lost := count(); lost != 0 {
		t.Fatalf("%d acknowledged records are lost", lost)
	}
}
