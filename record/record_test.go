package record

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

var codecs = []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd}

func build(t testing.TB, b *Builder, values ...string) Batch {
	t.Helper()
	for i, v := range values {
		b.Append(1000+int64(i), []byte("k"), []byte(v))
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// Another implementation of the format must be able to read the batch that a builder makes.
func TestBuiltBatchIsWhatKmsgReads(t *testing.T) {
	batch := build(t, &Builder{BaseOffset: 7, LeaderEpoch: 3, HasProducer: true, ProducerID: 9, ProducerEpoch: 2, BaseSequence: 5, Transactional: true}, "a", "b")
	var got kmsg.RecordBatch
	if err := got.ReadFrom(batch); err != nil {
		t.Fatal(err)
	}
	if got.FirstOffset != 7 || got.PartitionLeaderEpoch != 3 || got.Magic != 2 || got.Attributes != attrTransactional || got.LastOffsetDelta != 1 ||
		got.FirstTimestamp != 1000 || got.MaxTimestamp != 1001 || got.ProducerID != 9 || got.ProducerEpoch != 2 || got.FirstSequence != 5 || got.NumRecords != 2 {
		t.Errorf("header: %+v", got)
	}
	var r kmsg.Record
	if err := r.ReadFrom(got.Records); err != nil || string(r.Key) != "k" || string(r.Value) != "a" {
		t.Errorf("record: %+v, %v", r, err)
	}
}

func TestRoundTripOfAnyRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &Builder{Codec: rapid.SampledFrom(codecs).Draw(t, "codec"), BaseOffset: rapid.Int64Range(0, 1<<40).Draw(t, "base")}
		nullable := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 300))
		var want []Record
		offset := b.BaseOffset
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			r := Record{Offset: offset, Timestamp: rapid.Int64Range(0, 1<<42).Draw(t, "ts"), Key: nullable.Draw(t, "key"), Value: nullable.Draw(t, "value")}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers, Header{Key: rapid.String().Draw(t, "hk"), Value: nullable.Draw(t, "hv")})
			}
			b.AppendAt(r.Offset, r.Timestamp, r.Key, r.Value, r.Headers...)
			want = append(want, r)
			offset += int64(rapid.IntRange(1, 5).Draw(t, "gap"))
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if err = batch.Check(); err != nil {
			t.Fatal(err)
		}
		i := 0
		for got, err := range batch.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want[i]) {
				t.Fatalf("record %d: got %#v, want %#v", i, got, want[i])
			}
			i++
		}
		if i != len(want) || batch.LastOffset() != want[i-1].Offset {
			t.Fatalf("%d records to %d, want %d", i, batch.LastOffset(), len(want))
		}
	})
}

func TestCheckFindsEveryFlippedBit(t *testing.T) {
	good := build(t, &Builder{}, "hello")
	// The broker assigns the base offset and the leader epoch, so the CRC does not cover them.
	for i := posMagic; i < len(good); i++ {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if err := bad.Check(); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrMagic) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
}

func TestSplit(t *testing.T) {
	two := append(build(t, &Builder{}, "a"), build(t, &Builder{BaseOffset: 1}, "b")...)
	first, rest, err := Split(two)
	if err != nil || first.BaseOffset() != 0 || len(first)+len(rest) != len(two) {
		t.Fatalf("first: %v", err)
	}
	for n := range first {
		if _, _, err = Split(first[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	old := slices.Clone(two)
	old[posMagic] = 1
	if _, _, err = Split(old); !errors.Is(err, ErrMagic) {
		t.Errorf("magic 1: %v", err)
	}
}

func TestDecompressIsBounded(t *testing.T) {
	for _, codec := range codecs {
		small, err := codec.Compress(nil, make([]byte, 1<<20), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = codec.Decompress(nil, small, 1<<20); err != nil {
			t.Errorf("%v: %v", codec, err)
		}
		if _, err = codec.Decompress(nil, small, 1<<20-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: got %v, want ErrTooLarge", codec, err)
		}
	}
	// A block without xerial's frame, as librdkafka sends it.
	bare := []byte("\x05\x10hello")
	if got, err := CodecSnappy.Decompress(nil, bare, 100); err != nil || string(got) != "hello" {
		t.Errorf("bare snappy: %q, %v", got, err)
	}
}

func TestSequencesWrap(t *testing.T) {
	b := build(t, &Builder{HasProducer: true, ProducerID: 1, BaseSequence: 0x7fffffff}, "a", "b")
	if got := b.LastSequence(); got != 0 {
		t.Errorf("last sequence is %d, want 0", got)
	}
}

func FuzzBatch(f *testing.F) {
	for _, codec := range codecs {
		f.Add([]byte(build(f, &Builder{Codec: codec}, "hello", "world")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, rest, err := Split(data)
		if err != nil {
			return
		}
		if !bytes.Equal(append(slices.Clone(b), rest...), data) {
			t.Fatal("a split loses bytes")
		}
		_ = b.Check()
		n, newest := int32(0), NoTimestamp
		var bad error
		for r, err := range b.Records() {
			if bad = err; err != nil {
				break
			}
			n++
			newest = max(newest, r.Timestamp)
		}
		if bad == nil && n != max(b.Count(), 0) {
			t.Fatalf("%d records, the header says %d", n, b.Count())
		}
		if b.Codec() != CodecNone {
			return
		}
		switch s, err := b.Survey(b.Payload()); {
		case err == nil && bad != nil:
			t.Fatalf("the survey lets pass what Records does not: %v", bad)
		case err == nil && !b.IsLogAppendTime() && s.MaxTimestamp != newest:
			t.Fatalf("the survey finds %d, the newest record is of %d", s.MaxTimestamp, newest)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	batch := build(b, &Builder{}, string(make([]byte, 250_000)))
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if err := batch.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
