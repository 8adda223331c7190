package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRetentionPerTopic writes the same sixty days (by record timestamps) to three topics. They
// retain a day, thirty days, and everything, with a MiB each on local disk. Older records are only
// in the bucket, and retention must delete there. A reader from the beginning must get exactly what
// the topic retains, to the segment.
func TestRetentionPerTopic(t *testing.T) {
	sideBySide(t)
	const (
		days   = 60
		perDay = 10
		size   = 100 << 10
		day    = 24 * time.Hour
	)
	broker := startBroker(t)
	admin := newAdmin(t, broker.bootstrap)
	keeps := map[string]time.Duration{"day": day, "month": 30 * day, "forever": 0}
	first := time.Now().Add(-days * day)
	at := func(i int) time.Time { return first.Add(time.Duration(i) * day / perDay) }
	value := make([]byte, size)
	for topic, keep := range keeps {
		retention := "-1"
		if keep > 0 {
			retention = fmt.Sprint(keep.Milliseconds())
		}
		// A segment holds a day.
		createTopic(t, admin, topic, 1, "segment.bytes", "1048576", "local.retention.bytes", "1048576", "retention.ms", retention)
		producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(2*size))
		for i := range days * perDay {
			producer.Produce(t.Context(), &kgo.Record{Key: fmt.Append(nil, i), Value: value, Timestamp: at(i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	for topic, keep := range keeps {
		oldest := 0 // the first record that must remain
		for keep > 0 && time.Since(at(oldest)) > keep {
			oldest++
		}
		eventually(t, time.Minute, topic+" keeps what it shall, and little of it on local disk", func() bool {
			row := broker.tier(t, topic)[0]
			return row.LogStart <= int64(oldest) && row.LogStart >= int64(oldest)-perDay && row.LocalBytes <= 3<<20 && row.LagBytes == 0
		})
		row := broker.tier(t, topic)[0]
		kept := int64(days*perDay) - row.LogStart
		if keep != day && (row.RemoteBytes < 9*kept*size/10 || row.LocalStart <= row.LogStart) {
			t.Errorf("%s: %d records are kept, %+v", topic, kept, row)
		}
		reader := newClient(t, broker.bootstrap, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		next := row.LogStart
		consume(t, reader, int(kept), time.Minute, func(r *kgo.Record) {
			if r.Offset != next || string(r.Key) != fmt.Sprint(next) || len(r.Value) != size {
				t.Fatalf("%s: offset %d has record %s of %d bytes, want %d", topic, r.Offset, r.Key, len(r.Value), next)
			}
			next++
		})
		t.Logf("%s", broker.varve(t, "", "tier", "status", topic))
	}
}
