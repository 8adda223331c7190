package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// numbers writes numbered records to every partition of a topic in turn, with acks=all and an
// idempotent producer. It remembers which were acknowledged and which a reader, if any, has read.
type numbers struct {
	t          *testing.T
	topic      string
	partitions int32
	opts       []kgo.Opt // of all clients
	producer   *kgo.Client
	cancel     context.CancelFunc
	working    sync.WaitGroup
	sent       int // valid after stop

	mu          sync.Mutex
	acked, read []map[int64]string // values by partition and offset
}

// startNumbers starts to write, through a producer that buffers at most that many records.
func startNumbers(t *testing.T, bootstrap, topic string, partitions int32, buffered int, opts ...kgo.Opt) *numbers {
	t.Helper()
	n := &numbers{t: t, topic: topic, partitions: partitions, opts: append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, opts...)}
	for range partitions {
		n.acked, n.read = append(n.acked, map[int64]string{}), append(n.read, map[int64]string{})
	}
	n.producer = newClient(t, "", append([]kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordDeliveryTimeout(2 * time.Minute), kgo.RetryTimeout(2 * time.Minute), kgo.MaxBufferedRecords(buffered),
	}, n.opts...)...)
	ctx, cancel := context.WithCancel(t.Context())
	n.cancel = cancel
	n.working.Go(func() {
		for ; ctx.Err() == nil; n.sent++ {
			r := &kgo.Record{Partition: int32(n.sent) % partitions, Value: fmt.Appendf(nil, "%0200d", n.sent)}
			n.producer.Produce(t.Context(), r, n.acknowledged) //nolint:contextcheck // ctx ends the loop, not what is on its way
		}
	})
	t.Cleanup(func() { cancel(); n.working.Wait() })
	return n
}

// startReplicated starts numbers on a new topic with the given replicas, two of which must be in
// sync, and a reader, with clients that know all brokers.
func startReplicated(t *testing.T, brokers []*process, replicas [][]int32) (*numbers, *kadm.Client) {
	t.Helper()
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	createPlaced(t, client, "numbers", replicas, "min.insync.replicas", "2")
	n := startNumbers(t, "", "numbers", int32(len(replicas)), 500, everywhere...)
	n.readAlong()
	n.progress("at the start")
	return n, kadm.NewClient(client)
}

func (n *numbers) acknowledged(r *kgo.Record, err error) {
	if err != nil {
		n.t.Errorf("produce: %v", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.acked[r.Partition][r.Offset] = string(r.Value)
}

// readAlong starts a reader that follows the writing from the beginning.
func (n *numbers) readAlong() {
	n.t.Helper()
	reader := n.reader()
	ctx, cancel := context.WithCancel(n.t.Context())
	stopWriting := n.cancel
	n.cancel = func() { stopWriting(); cancel() }
	n.working.Go(func() {
		for ctx.Err() == nil {
			reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.read[r.Partition][r.Offset] = string(r.Value)
			})
		}
	})
}

// reader returns a client that reads the topic from the beginning.
func (n *numbers) reader() *kgo.Client {
	n.t.Helper()
	return newClient(n.t, "", append([]kgo.Opt{
		kgo.ConsumeTopics(n.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, n.opts...)...)
}

// progress waits until every partition accepts records again.
func (n *numbers) progress(what string) {
	n.t.Helper()
	_, before := n.count()
	eventually(n.t, time.Minute, "every partition takes records "+what, func() bool {
		_, now := n.count()
		return now > before+100
	})
}

// count is the number of acknowledged records: in all, and of the partition with the fewest.
func (n *numbers) count() (all, fewest int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fewest = len(n.acked[0])
	for _, p := range n.acked {
		all += len(p)
		fewest = min(fewest, len(p))
	}
	return all, fewest
}

// stop ends the writing and the reading, after everything written has been acknowledged.
func (n *numbers) stop() {
	n.t.Helper()
	n.cancel()
	n.working.Wait()
	if err := n.producer.Flush(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

// check reads everything again. All records must exist once and in order, and each that was
// acknowledged or read before must be at its offset.
func (n *numbers) check() {
	n.t.Helper()
	last, next := map[int32]string{}, map[int32]int64{}
	consume(n.t, n.reader(), n.sent, 2*time.Minute, func(r *kgo.Record) {
		if r.Offset != next[r.Partition] {
			n.t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, next[r.Partition]-1)
		}
		next[r.Partition]++
		value := string(r.Value)
		if value <= last[r.Partition] {
			n.t.Fatalf("partition %d offset %d: %s after %s: twice or out of order", r.Partition, r.Offset, value, last[r.Partition])
		}
		last[r.Partition] = value
		for what, known := range map[string]map[int64]string{"acknowledged": n.acked[r.Partition], "read before": n.read[r.Partition]} {
			if want, ok := known[r.Offset]; ok && want != value {
				n.t.Fatalf("partition %d offset %d: %s was %s, %s is there", r.Partition, r.Offset, want, what, value)
			}
			delete(known, r.Offset)
		}
	})
	for p := range n.acked {
		if lost, vanished := len(n.acked[p]), len(n.read[p]); lost+vanished > 0 {
			n.t.Errorf("partition %d: of the acknowledged records %d are lost, of those that were read %d", p, lost, vanished)
		}
	}
}
