package integration

import (
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A thousand partitions created in one request answer ListOffsets and take
// writes as soon as the request is answered.
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
	for p := range int32(1000) {
		records = append(records, &kgo.Record{Partition: p, Value: []byte("x")})
	}
	if err = client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	broker.stop(t, 15)
	broker.start(t)
	if offsets, err = admin.ListEndOffsets(t.Context(), "wide"); err != nil || offsets.Error() != nil {
		t.Fatalf("after a restart: %v, %v", err, offsets.Error())
	}
	offsets.Each(func(o kadm.ListedOffset) {
		if o.Offset != 1 {
			t.Errorf("partition %d ends at %d after a restart", o.Partition, o.Offset)
		}
	})
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
