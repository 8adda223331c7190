package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/objstore/objstoretest"
)

// Everything that a client wrote must be read back byte for byte and in order when almost all of it
// is only in the bucket: from the beginning, from an offset, and from a timestamp.
func TestHistoryLivesInTheBucket(t *testing.T) {
	t.Run("directory", func(t *testing.T) { historyLivesInTheBucket(t) })
	t.Run("s3", func(t *testing.T) {
		s3 := objstoretest.StartS3(t)
		historyLivesInTheBucket(t, "--object-store", s3.BucketURL(t, "history"))
	})
}

func historyLivesInTheBucket(t *testing.T, flags ...string) {
	t.Helper()
	records := 250_000
	if long() {
		records = 2_000_000
	}
	broker := startBroker(t, flags...)
	createTopic(t, newAdmin(t, broker.bootstrap), "history", 1,
		"segment.bytes", "1048576", "local.retention.bytes", "1", "retention.ms", "-1")

	start := time.UnixMilli(1_700_000_000_000)
	value := func(i int) string { return fmt.Sprintf("%0100d", i) }
	producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("history"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range records {
		producer.Produce(t.Context(), &kgo.Record{
			Key: fmt.Appendf(nil, "key-%d", i), Value: []byte(value(i)), Timestamp: start.Add(time.Duration(i) * time.Millisecond),
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "95% of the bytes are only in the bucket", func() bool {
		row := broker.tier(t, "history")[0]
		return row.RemoteBytes > 19*row.LocalBytes && row.LocalStart > int64(records)*9/10
	})

	check := func(name string, first int, at kgo.Offset, n int) {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, broker.bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"history": {0: at}}))
			next := first
			consume(t, client, n, 2*time.Minute, func(r *kgo.Record) {
				if r.Offset != int64(next) || string(r.Value) != value(next) || string(r.Key) != fmt.Sprintf("key-%d", next) ||
					r.Timestamp.UnixMilli() != start.UnixMilli()+int64(next) {
					t.Fatalf("record %d came as offset %d, key %s, time %v", next, r.Offset, r.Key, r.Timestamp)
				}
				next++
			})
		})
	}
	check("from the beginning", 0, kgo.NewOffset().AtStart(), records)
	check("from a cold offset", records/3, kgo.NewOffset().At(int64(records/3)), 5000)
	check("from a cold time", records/2, kgo.NewOffset().AfterMilli(start.UnixMilli()+int64(records/2)), 5000)

	out := broker.varve(t, "", "consume", "history", "--from", fmt.Sprintf("@%d", start.UnixMilli()+77), "-n", "1", "-f", `%o %k\n`)
	if strings.TrimSpace(out) != "77 key-77" {
		t.Errorf("varve consume by time: %q", out)
	}

	broker.stop(t, 15)
	broker.start(t)
	check("after a restart", 0, kgo.NewOffset().AtStart(), records)
}

// A restart during an outage of the object store must make only the history unavailable. Local data
// must be served, and uploads must resume when the store returns.
func TestStartWithoutTheObjectStore(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	broker := startBroker(t, "--object-store", s3.BucketURL(t, "away"))
	createTopic(t, newAdmin(t, broker.bootstrap), "away", 1, "segment.bytes", "1048576", "local.retention.bytes", "1", "retention.ms", "-1")
	written := 0
	write := func() {
		producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("away"), kgo.ProducerBatchCompression(kgo.NoCompression()))
		for range 3000 {
			producer.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf("%01000d", written)), func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
			written++
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	read := func(from int) {
		client := newClient(t, broker.bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"away": {0: kgo.NewOffset().At(int64(from))}}))
		next := from
		consume(t, client, written-from, 2*time.Minute, func(r *kgo.Record) {
			if r.Offset != int64(next) || string(r.Value) != fmt.Sprintf("%01000d", next) {
				t.Fatalf("record %d came as offset %d", next, r.Offset)
			}
			next++
		})
	}
	write()
	eventually(t, time.Minute, "a segment is only in the bucket", func() bool { return broker.tier(t, "away")[0].LocalStart > 0 })
	broker.stop(t, syscall.SIGTERM)
	s3.Stop(t)
	broker.start(t)
	hot := written
	write()
	read(hot)
	s3.Start(t)
	eventually(t, time.Minute, "what was written during the outage is uploaded", func() bool { return broker.tier(t, "away")[0].LocalStart > int64(hot) })
	read(0)
}
