package containers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// history holds the acknowledgements that a producer received: the value of each record by its
// place.
type history struct {
	mu struct {
		sync.Mutex
		values map[place]string
		failed error // errors of produce, and acknowledged places that were reused
	}
}

type place struct {
	partition int32
	offset    int64
}

func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.mu.values)
}

// produce writes records to the partitions in turn until ctx ends, with a bounded number in flight,
// and records the acknowledged ones.
func (h *history) produce(ctx context.Context, client *kgo.Client, topic string, partitions int32) {
	const under = 64 // records in flight at a time
	turns := make(chan struct{}, under)
	for i := 0; ctx.Err() == nil; i++ {
		turns <- struct{}{}
		record := &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: fmt.Appendf(nil, "record %d", i)}
		client.Produce(context.WithoutCancel(ctx), record, func(r *kgo.Record, err error) {
			defer func() { <-turns }()
			h.mu.Lock()
			defer h.mu.Unlock()
			if err != nil {
				h.mu.failed = errors.Join(h.mu.failed, err)
				return
			}
			at := place{r.Partition, r.Offset}
			if old, told := h.mu.values[at]; told { // a later leader did not have the old record
				h.mu.failed = errors.Join(h.mu.failed, fmt.Errorf("partition %d offset %d was acknowledged as %q and then as %q", at.partition, at.offset, old, r.Value))
			}
			h.mu.values[at] = string(r.Value)
		})
	}
	for range under { // all have their answer
		turns <- struct{}{}
	}
}

// A producer with acks=all writes all the time while the leader is frozen, killed, disconnected
// from the network and restarted, one after another. Each time another broker must become the
// leader. At the end every acknowledged record must be at its place.
func TestFaultsLoseNothing(t *testing.T) {
	needsEngine(t)
	const topic, partitions = "faults", 3
	c := startCluster(t)
	client := newClient(t, c.bootstrap)
	two := "2"
	createTopic(t, client, topic, partitions, brokers, map[string]*string{"min.insync.replicas": &two})
	c.allInSync(t, client, topic, partitions)

	h := &history{}
	h.mu.values = map[place]string{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var producing sync.WaitGroup
	producing.Go(func() { h.produce(ctx, newClient(t, c.bootstrap), topic, partitions) })
	defer producing.Wait()
	defer stop()

	progress := func(what string) {
		t.Helper()
		before := h.acknowledged()
		eventually(t, "records are acknowledged "+what, func() error {
			if now := h.acknowledged(); now < before+300 {
				return fmt.Errorf("%d records since", now-before)
			}
			return nil
		})
	}
	for _, fault := range []struct {
		name        string
		begin, mend func(*node)
	}{
		{"while the leader is frozen", func(n *node) { n.pause(t) }, func(n *node) { n.unpause(t) }},
		{"after kill -9 of the leader", func(n *node) { n.kill(t) }, func(n *node) { n.restart(t) }},
		{"while the leader is cut off", func(n *node) { n.disconnect(t) }, func(n *node) { n.reconnect(t) }},
		{"after a restart of the leader", func(n *node) { n.stop(t) }, func(n *node) { n.restart(t) }},
	} {
		progress("before the next fault")
		old, err := partitionOf(t.Context(), client, topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		fault.begin(c.nodes[old.Leader])
		eventually(t, "another broker leads "+fault.name, func() error {
			now, err := partitionOf(t.Context(), client, topic, 0)
			if err == nil && (now.Leader == old.Leader || now.Leader < 0) {
				err = fmt.Errorf("leader %d", now.Leader)
			}
			return err
		})
		progress(fault.name)
		fault.mend(c.nodes[old.Leader])
		c.allInSync(t, client, topic, partitions)
	}
	stop()
	producing.Wait()
	h.check(t, c, topic, partitions)
}

// check reads all partitions from the beginning and looks for each acknowledged record.
func (h *history) check(t *testing.T, c *cluster, topic string, partitions int32) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.failed != nil {
		t.Errorf("refused or lost: %v", h.mu.failed)
	}
	want := len(h.mu.values)
	t.Logf("%d records were acknowledged", want)
	ends := map[int32]int64{} // the highest acknowledged offset + 1
	for at := range h.mu.values {
		ends[at.partition] = max(ends[at.partition], at.offset+1)
	}
	for p := range partitions {
		for _, r := range readTo(t, c.bootstrap, topic, p, ends[p]) {
			at := place{r.Partition, r.Offset}
			if value, told := h.mu.values[at]; told {
				if value != string(r.Value) {
					t.Fatalf("partition %d offset %d has %q, acknowledged was %q", p, r.Offset, r.Value, value)
				}
				delete(h.mu.values, at)
			}
		}
	}
	if lost := len(h.mu.values); lost > 0 {
		t.Fatalf("%d of %d acknowledged records are lost", lost, want)
	}
}

// readTo reads a partition from its beginning up to the offset end (exclusive), in order and
// without gaps.
func readTo(t *testing.T, bootstrap []string, topic string, partition int32, end int64) []*kgo.Record {
	t.Helper()
	client := newClient(t, bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s-%d: at offset %d of %d: %v", topic, partition, next, end, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next {
				t.Fatalf("%s-%d: offset %d follows %d", topic, partition, r.Offset, next-1)
			}
			next++
			records = append(records, r)
		})
	}
	return records
}
