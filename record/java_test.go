package record

import (
	"os"
	"strings"
	"testing"
)

// The files in testdata are segments that Apache Kafka 4.3.1 wrote for its console producer, one
// for each codec.
func TestBatchesOfTheJavaProducer(t *testing.T) {
	for _, codec := range codecs {
		data, err := os.ReadFile("testdata/java-" + codec.String() + ".log")
		if err != nil {
			t.Fatal(err)
		}
		b, rest, err := Split(data)
		if err != nil || len(rest) > 0 || b.Check() != nil {
			t.Fatalf("%v: split: %v, check: %v, %d bytes are left", codec, err, b.Check(), len(rest))
		}
		if b.Codec() != codec || b.Count() != 3 || b.LastOffset() != 2 || !b.HasProducer() || b.LastSequence() != 2 {
			t.Errorf("%v: codec %v, %d records to offset %d, producer %d", codec, b.Codec(), b.Count(), b.LastOffset(), b.ProducerID())
		}
		records := collect(t, b)
		for i, want := range []string{"layer upon layer upon layer", "", strings.Repeat("0", 299) + "7"} {
			if r := records[i]; string(r.Value) != want || string(r.Key) != "k"+string(rune('1'+i)) || r.Offset != int64(i) || r.Value == nil {
				t.Errorf("%v: record %d: %q = %q", codec, i, r.Key, r.Value)
			}
		}
		if last := records[2].Timestamp; last != b.MaxTimestamp() {
			t.Errorf("%v: last timestamp %d, the batch says %d", codec, last, b.MaxTimestamp())
		}
	}
}
