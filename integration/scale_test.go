package integration

import (
	"hash/crc32"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A thousand partitions created in one request must answer ListOffsets and accept writes as soon as
// the request is answered. Partitions that were never written have no directory; they must exist
// again after a kill and after a stop.
func TestThousandPartitionsServeAtOnce(t *testing.T) {
	broker := startBroker(t)
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "wide", 1000)
	offsets, err := admin.ListEndOffsets(t.Context(), "wide")
	if err != nil || offsets.Error() != nil || len(offsets["wide"]) != 1000 {
		t.Fatalf("list offsets: %v, %v, %d partitions", err, offsets.Error(), len(offsets["wide"]))
	}
	client := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	const written = 900
	for p := range int32(written) {
		records = append(records, &kgo.Record{Partition: p, Value: []byte("x")})
	}
	if err = client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(*testing.T){broker.kill9, func(t *testing.T) { t.Helper(); broker.stop(t, syscall.SIGTERM) }} {
		end(t)
		broker.start(t)
		if offsets, err = admin.ListEndOffsets(t.Context(), "wide"); err != nil || offsets.Error() != nil || len(offsets["wide"]) != 1000 {
			t.Fatalf("after a restart: %v, %v, %d partitions", err, offsets.Error(), len(offsets["wide"]))
		}
		offsets.Each(func(o kadm.ListedOffset) {
			if wrote := o.Partition < written; wrote && o.Offset != 1 || !wrote && o.Offset != 0 {
				t.Errorf("partition %d ends at %d after a restart", o.Partition, o.Offset)
			}
		})
	}
	record := &kgo.Record{Partition: 999, Value: []byte("x")}
	if err = client.ProduceSync(t.Context(), record).FirstErr(); err != nil || record.Offset != 0 {
		t.Errorf("first write after two restarts: offset %d, %v", record.Offset, err)
	}
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
