package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestBatch: a client reads the values that the batch was made of.
func TestBatch(t *testing.T) {
	values := payloads(40, 300)
	for _, lz4 := range []bool{false, true} {
		encoded, err := buildBatch(values, lz4)
		if err != nil {
			t.Fatal(err)
		}
		if sum := binary.BigEndian.Uint32(encoded[batchChecksum:]); sum != crc32.Checksum(encoded[batchAttributes:], castagnoli) {
			t.Error("the checksum is wrong")
		}
		response := kmsg.FetchResponseTopicPartition{HighWatermark: 40, RecordBatches: encoded}
		partition, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t"}, &response, kgo.DefaultDecompressor(), nil)
		if partition.Err != nil || len(partition.Records) != len(values) {
			t.Fatalf("lz4 %v: a client reads %d records, %v", lz4, len(partition.Records), partition.Err)
		}
		for i, r := range partition.Records {
			if r.Offset != int64(i) || !bytes.Equal(r.Value, values[i]) {
				t.Fatalf("lz4 %v: record %d is %d %q", lz4, i, r.Offset, r.Value)
			}
		}
		if ratio := float64(len(encoded)) / (40 * 300); lz4 && (ratio < 0.3 || ratio > 0.7) {
			t.Errorf("lz4 leaves %.2f of the records", ratio)
		}
	}
}

func TestPayloadsAreTheSameInEveryRun(t *testing.T) {
	first, second := payloads(3, smallRecord), payloads(3, smallRecord)
	for i := range first {
		if len(first[i]) != smallRecord || !bytes.Equal(first[i], second[i]) {
			t.Errorf("%q, then %q", first[i], second[i])
		}
	}
	if bytes.Equal(first[0], first[1]) {
		t.Error("two records are the same")
	}
}
