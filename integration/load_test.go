package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// load is several producers that write unique numbered records with acks=all to all partitions of a
// topic, several readers that follow them, and the history of all of it.
type load struct {
	t          *testing.T
	topic      string
	partitions int32
	history    *history
	value      int // length of a value in bytes
	producers  []*kgo.Client
	writing    sync.WaitGroup
	reading    sync.WaitGroup
	writes     context.Context //nolint:containedctx // that of all producers, also of those that come later
	stopWrites context.CancelFunc
	stopReads  context.CancelFunc
}

// startLoad starts to write and to read. Every producer writes at most perSecond records a second,
// with values of about value bytes.
func startLoad(t *testing.T, topic string, partitions int32, producers, readers, perSecond, value int, opts ...kgo.Opt) *load {
	t.Helper()
	l := &load{t: t, topic: topic, partitions: partitions, history: newHistory(), value: value}
	for p := range partitions {
		l.history.partition(p)
	}
	writes, stopWrites := context.WithCancel(t.Context())
	reads, stopReads := context.WithCancel(t.Context())
	l.writes, l.stopWrites, l.stopReads = writes, stopWrites, stopReads
	for i := range producers {
		producer := newClient(t, "", append([]kgo.Opt{
			kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordDeliveryTimeout(30 * time.Second), kgo.RetryTimeout(30 * time.Second), kgo.MaxBufferedRecords(300),
		}, opts...)...)
		l.producers = append(l.producers, producer)
		l.writing.Go(func() { l.write(writes, producer, i+1, perSecond) })
	}
	for range readers {
		reader := newClient(t, "", append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
		l.reading.Go(func() { l.read(reads, reader) })
	}
	t.Cleanup(func() { stopWrites(); stopReads(); l.writing.Wait(); l.reading.Wait() })
	return l
}

// producing runs another producer until the writing ends.
func (l *load) producing(run func(ctx context.Context)) { l.writing.Go(func() { run(l.writes) }) }

// write runs one producer.
func (l *load) write(ctx context.Context, producer *kgo.Client, id, perSecond int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p, record := int32(n)%l.partitions, recordID{id, n / int(l.partitions)}
		r := &kgo.Record{Partition: p, Value: record.encode(l.value)}
		call := l.history.now()
		producer.Produce(l.t.Context(), r, func(r *kgo.Record, err error) { //nolint:contextcheck // ctx ends the loop, not what is on its way
			l.history.append(p, record, call, r.Offset, err)
		})
	}
}

// encode returns the value of a record, of about size bytes. The number comes first and the padding
// last, so long values are decoded as fast as short ones.
func (id recordID) encode(size int) []byte {
	return fmt.Appendf(nil, "%d %d %0*d", id.producer, id.number, size, 0)
}

func decodeRecord(value []byte) (id recordID, err error) {
	_, err = fmt.Sscanf(string(value), "%d %d", &id.producer, &id.number)
	return id, err
}

// read runs one reader.
func (l *load) read(ctx context.Context, reader *kgo.Client) {
	next := map[int32]int64{}
	for ctx.Err() == nil {
		fetches := reader.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if _, lost := errors.AsType[*kgo.ErrDataLoss](e.Err); lost {
				l.t.Errorf("a reader of partition %d was told: %v", e.Partition, e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			id, err := decodeRecord(r.Value)
			if err != nil {
				l.t.Errorf("partition %d, offset %d: %q: %v", r.Partition, r.Offset, r.Value, err)
				return
			}
			l.history.read(r.Partition, id, r.Offset, next[r.Partition])
			next[r.Partition] = r.Offset + 1
		})
	}
}

// stop ends the writing, after all records have been acknowledged or have failed, and then the
// reading.
func (l *load) stop() {
	l.t.Helper()
	l.stopWrites()
	l.writing.Wait()
	for _, p := range l.producers {
		if err := p.Flush(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
	}
	l.stopReads()
	l.reading.Wait()
}

// progress waits until every partition accepts records again. If that fails, it logs for each
// stalled partition the number of accepted records, the leader and the in-sync replicas.
func (l *load) progress(within time.Duration, what string) {
	l.t.Helper()
	_, before := l.history.acknowledged()
	if holdsWithin(within, func() bool {
		_, fewest := l.history.acknowledged()
		return fewest > before+20
	}) {
		return
	}
	topics, err := kadm.NewClient(l.producers[0]).ListTopics(l.t.Context(), l.topic)
	l.t.Logf("%s after %v: %v", l.topic, within, err)
	for number := range l.partitions {
		p := topics[l.topic].Partitions[number]
		l.t.Logf("%s:%d: %d records, %d were there; leader %d in epoch %d, %v of %v in sync",
			l.topic, number, l.history.acknowledgedOf(number), before, p.Leader, p.LeaderEpoch, p.ISR, p.Replicas)
	}
	l.t.Fatalf("not within %v: every partition of %s takes records again %s", within, l.topic, what)
}

// check reads the logs and checks the history against them.
func (l *load) check(opts ...kgo.Opt) {
	l.t.Helper()
	admin := kadm.NewClient(newClient(l.t, "", opts...))
	logs := readLogs(l.t, admin, l.topic, opts...)
	all, _ := l.history.acknowledged()
	failed, total := 0, 0
	for p := range l.partitions {
		failed += len(l.history.partitions[p].appends)
		total += len(logs[p])
	}
	l.t.Logf("%s: %d records acknowledged, %d failed, %d in the logs", l.topic, all, failed-all, total)
	if err := l.history.check(logs); err != nil {
		l.t.Errorf("the history cannot be:\n%v", err)
	}
}

// readLogs reads all partitions of a topic from offset 0 to their ends.
func readLogs(t *testing.T, admin *kadm.Client, topic string, opts ...kgo.Opt) map[int32][]recordID {
	t.Helper()
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	logs, left := map[int32][]recordID{}, 0
	ends.Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	reader := newClient(t, "", append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
	defer reader.Close()
	consume(t, reader, left, 2*time.Minute, func(r *kgo.Record) {
		id, decodeErr := decodeRecord(r.Value)
		if decodeErr != nil || r.Offset != int64(len(logs[r.Partition])) {
			t.Fatalf("partition %d: offset %d follows %d: %.30q, %v", r.Partition, r.Offset, len(logs[r.Partition])-1, r.Value, decodeErr)
		}
		logs[r.Partition] = append(logs[r.Partition], id)
	})
	return logs
}

// allInSync waits until every partition of the topic has the given number of replicas in sync. 0
// means all of its replicas.
func allInSync(t *testing.T, admin *kadm.Client, topic string, replicas int) {
	t.Helper()
	var last string
	deadline := time.Now().Add(90 * time.Second)
	eventually(t, 2*time.Minute, "all replicas are in sync again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			last = err.Error()
			return false
		}
		missing := []string{}
		for _, p := range topics[topic].Partitions {
			if len(p.ISR) < replicas || replicas == 0 && len(p.ISR) < len(p.Replicas) {
				missing = append(missing, fmt.Sprintf("%d: %v of %v", p.Partition, p.ISR, p.Replicas))
			}
		}
		last = strings.Join(missing, ", ")
		if time.Now().After(deadline) {
			t.Fatalf("not all replicas are in sync again: %s", last)
		}
		return len(missing) == 0 && len(topics[topic].Partitions) > 0
	})
}

// tellLogs prints the relevant lines of the brokers' logs: warnings and errors, elections and
// in-sync sets, at most the last two hundred lines of each.
func tellLogs(t *testing.T, brokers []*process) {
	t.Helper()
	for i, p := range brokers {
		var lines []string
		for line := range strings.Lines(p.log.String()) {
			for _, what := range []string{`"WARN"`, `"ERROR"`, "panic", "DATA RACE", "in-sync", "elect", "lead", "truncat", "ready:", "varve: "} {
				if strings.Contains(line, what) {
					lines = append(lines, line)
					break
				}
			}
		}
		if len(lines) > 200 {
			lines = lines[len(lines)-200:]
		}
		t.Logf("log of broker %d, what matters of it:\n%s", i+1, strings.Join(lines, ""))
	}
}

// stopLoads ends the writing of all loads, which may share producers, and then each load.
func stopLoads(loads ...*load) {
	for _, l := range loads {
		l.stopWrites()
	}
	for _, l := range loads {
		l.stop()
	}
}

// waitFor lets time pass, in which brokers do or do not do what is checked afterward.
func waitFor(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
