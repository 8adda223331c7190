package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchAt returns a batch of ten records at an offset.
func batchAt(t *testing.T, offset int64) []byte {
	t.Helper()
	batch, err := buildBatch(payloads(10, smallRecord), false)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(batch, uint64(offset))
	return batch
}

// response encodes a fetch response as it follows the correlation id.
func response(partitions ...kmsg.FetchResponseTopicPartition) []byte {
	r := kmsg.NewPtrFetchResponse()
	r.SetVersion(fetchVersion)
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.Partitions = "bench-1", partitions
	r.Topics = append(r.Topics, topic)
	return r.AppendTo([]byte{0}) // no tagged fields in the header
}

func partition(id int32, highWatermark int64, records []byte) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.RecordBatches = id, highWatermark, records
	return p
}

func readFetch(encoded []byte, next map[int32]int64) (int64, error) {
	b := &fetchBody{reader: bufio.NewReader(bytes.NewReader(encoded)), left: len(encoded)}
	return b.read(next)
}

func TestFetchBody(t *testing.T) {
	two := append(batchAt(t, 100), batchAt(t, 110)...)
	cut := append(batchAt(t, 40), two[:70]...)
	withAborted := partition(3, 130, two)
	withAborted.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 1, FirstOffset: 2}}
	encoded := response(
		partition(0, 120, two),             // to its end: it begins again
		partition(1, 90, cut),              // the second batch is cut, it is fetched again
		partition(2, 50, nil),              // nothing new
		withAborted,                        // fields before the records
		partition(4, 90, cut[:10]),         // not even a header
		partition(5, 60, two[:len(two)/2]), // one batch
	)
	next := map[int32]int64{0: 100, 1: 40, 2: 7, 3: 100, 4: 40, 5: 100}
	records, err := readFetch(encoded, next)
	if err != nil {
		t.Fatal(err)
	}
	if records != 60 {
		t.Errorf("read %d records, want 60", records)
	}
	if want := map[int32]int64{0: 0, 1: 50, 2: 7, 3: 120, 4: 40, 5: 0}; !maps.Equal(next, want) {
		t.Errorf("the next offsets are %v, want %v", next, want)
	}
}

// TestFetchBodyEndsEarly: no prefix of a response passes, and none hangs.
func TestFetchBodyEndsEarly(t *testing.T) {
	encoded := response(partition(0, 120, batchAt(t, 100)))
	for n := range encoded {
		if _, err := readFetch(encoded[:n], map[int32]int64{}); !errors.Is(err, errMalformed) {
			t.Fatalf("%d of %d bytes: the error is %v", n, len(encoded), err)
		}
	}
	if _, err := readFetch(append(encoded, 0), map[int32]int64{}); !errors.Is(err, errMalformed) {
		t.Errorf("with a byte too many the error is %v", err)
	}
}

func TestFetchBodyReportsErrors(t *testing.T) {
	p := partition(0, 120, nil)
	p.ErrorCode = kerr.OffsetOutOfRange.Code
	if _, err := readFetch(response(p), map[int32]int64{}); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("the error is %v", err)
	}
}
