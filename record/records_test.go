package record

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// goldenBatch is a batch that no code of this package built: two records, one with a header, laid
// out by hand from KIP-98.
func goldenBatch(tb testing.TB) Batch {
	tb.Helper()
	const (
		first  = "\x1c" + "\x00" + "\x00" + "\x00" + "\x02k" + "\x02v" + "\x02" + "\x02h" + "\x04x\x00"
		second = "\x0e" + "\x00" + "\x03" + "\x02" + "\x01" + "\x00" + "\x00"
	)
	// The leading lengths are computed here, so a slip in the bytes above fails where it is.
	fix := func(r string) string { return string(binary.AppendVarint(nil, int64(len(r)-1))) + r[1:] }
	records := fix(first) + fix(second)
	header := "\x00\x00\x00\x00\x00\x00\x00\x2a" + "\x00\x00\x00\x00" + "\x00\x00\x00\x05" + "\x02" + "\x00\x00\x00\x00" +
		"\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x01\x8b\xcf\xe5\x68\x00" + "\x00\x00\x01\x8b\xcf\xe5\x68\x00" +
		"\x00\x00\x00\x00\x00\x00\x03\xe8" + "\x00\x07" + "\x00\x00\x00\x09" + "\x00\x00\x00\x02"
	b := Batch(header + records)
	binary.BigEndian.PutUint32(b[posBatchLength:], uint32(len(b)-LogOverhead))
	b.SetCRC()
	return b
}

func TestGoldenBatch(t *testing.T) {
	b := goldenBatch(t)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	if b.BaseOffset() != 42 || b.LastOffset() != 43 || b.NextOffset() != 44 || b.LeaderEpoch() != 5 || b.Count() != 2 || b.ProducerID() != 1000 ||
		b.ProducerEpoch() != 7 || b.BaseSequence() != 9 || b.LastSequence() != 10 || b.MaxTimestamp() != 1_700_000_000_000 || b.Codec() != CodecNone {
		t.Errorf("header fields are wrong")
	}
	records := collect(t, b)
	first, second := records[0], records[1]
	if first.Offset != 42 || first.Timestamp != 1_700_000_000_000 || string(first.Key) != "k" || string(first.Value) != "v" ||
		len(first.Headers) != 1 || first.Headers[0].Key != "h" || string(first.Headers[0].Value) != "x\x00" {
		t.Errorf("first: %+v", first)
	}
	if second.Offset != 43 || second.Timestamp != 1_700_000_000_000-2 || second.Key != nil || second.Value == nil || len(second.Value) != 0 {
		t.Errorf("second: %+v; a null key, an empty value and a timestamp 2 ms before the base are wanted", second)
	}
}

func TestBuilderWritesTheGoldenBatch(t *testing.T) {
	want := goldenBatch(t)
	b := Builder{BaseOffset: 42, LeaderEpoch: 5, HasProducer: true, ProducerID: 1000, ProducerEpoch: 7, BaseSequence: 9}
	b.Append(1_700_000_000_000, []byte("k"), []byte("v"), Header{Key: "h", Value: []byte("x\x00")})
	b.Append(1_700_000_000_000-2, nil, []byte{})
	got, err := b.Build()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %x, %v\nwant %x", got, err, want)
	}
}

func TestBuilderIsUsedAgain(t *testing.T) {
	b := &Builder{Codec: CodecLZ4, BaseOffset: 10}
	first := build(t, b, "a", "b", "c")
	kept := slices.Clone(first)
	b.Reset()
	b.BaseOffset = 20
	second := build(t, b, strings.Repeat("z", 5000))
	if !slices.Equal(first, kept) {
		t.Error("the second batch overwrites the first")
	}
	if got := collect(t, second); len(got) != 1 || got[0].Offset != 20 || got[0].Timestamp != 1000 {
		t.Errorf("after Reset: %+v", got)
	}
}

func TestBuilderRefuses(t *testing.T) {
	for name, fill := range map[string]func(*Builder){
		"no records":         func(*Builder) {},
		"an offset below":    func(b *Builder) { b.AppendAt(9, 0, nil, nil) },
		"an offset too far":  func(b *Builder) { b.AppendAt(10+1<<31, 0, nil, nil) },
		"a codec of nowhere": func(b *Builder) { b.Codec = 6; b.Append(0, nil, nil) },
	} {
		b := &Builder{BaseOffset: 10}
		fill(b)
		if batch, err := b.Build(); err == nil {
			t.Errorf("%s: built %d bytes", name, len(batch))
		}
	}
}

// Whatever is wrong inside a batch, the iteration must end with ErrCorrupt, after at most the
// records before the fault.
func TestMalformedRecords(t *testing.T) {
	// pos is the position of the second record.
	pos := func(b Batch) int { return HeaderSize + int(b[HeaderSize]/2) + 1 }
	for name, damage := range map[string]func(Batch) Batch{
		"count too high": func(b Batch) Batch { b[posCount+3] = 3; return b },
		"count too low":  func(b Batch) Batch { b[posCount+3] = 1; return b },
		"count of 2^31":  func(b Batch) Batch { copy(b[posCount:], "\x7f\xff\xff\xff"); return b },
		"length beyond":  func(b Batch) Batch { b[pos(b)] = 0x40; return b },
		"length short":   func(b Batch) Batch { b[pos(b)] -= 2; return b },
		"length -1":      func(b Batch) Batch { b[pos(b)] = 1; return b },
		"value length -2": func(b Batch) Batch {
			b[pos(b)+5] = 3
			return b
		},
		"value length beyond": func(b Batch) Batch { b[pos(b)+5] = 0x20; return b },
		"header count beyond": func(b Batch) Batch { b[pos(b)+6] = 0x7e; return b },
		"header count -1":     func(b Batch) Batch { b[pos(b)+6] = 1; return b },
		"offset delta beyond": func(b Batch) Batch { b[pos(b)+3] = 4; return b },
		"offset delta -1":     func(b Batch) Batch { b[pos(b)+3] = 1; return b },
		"header key null":     func(b Batch) Batch { b[HeaderSize+9] = 1; return b },
		"a byte too many in a record": func(b Batch) Batch {
			b[pos(b)] += 2
			return append(b, 0)
		},
		"no bytes for records": func(b Batch) Batch { return b[:HeaderSize] },
		"endless varint": func(b Batch) Batch {
			return append(b[:HeaderSize], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...)
		},
	} {
		b := damage(goldenBatch(t))
		var last error
		n := 0
		for _, err := range b.Records() {
			if last != nil {
				t.Fatalf("%s: iteration goes on after an error", name)
			}
			if last = err; err == nil {
				n++
			}
		}
		if !errors.Is(last, ErrCorrupt) || n > 2 {
			t.Errorf("%s: %d records, then %v", name, n, last)
		}
		if _, err := b.Survey(b.Payload()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: the survey says %v", name, err)
		}
	}
}

func TestIterationStopsWhenAsked(t *testing.T) {
	n := 0
	for _, err := range build(t, &Builder{Codec: CodecZstd}, "a", "b", "c").Records() {
		if err != nil {
			t.Error(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d steps", n)
	}
}

func TestLogAppendTimeIsEveryRecordsTime(t *testing.T) {
	b := build(t, &Builder{}, "a", "b")
	b.SetLogAppendTime(5555)
	if err := b.Check(); err != nil {
		t.Fatal(err)
	}
	for _, r := range collect(t, b) {
		if r.Timestamp != 5555 {
			t.Errorf("timestamp %d", r.Timestamp)
		}
	}
}

func collect(tb testing.TB, b Batch) []Record {
	tb.Helper()
	var all []Record
	for r, err := range b.Records() {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func BenchmarkBuild(b *testing.B) {
	value := make([]byte, 100)
	builder := &Builder{}
	b.SetBytes(1000 * 100)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		for range 1000 {
			builder.Append(1, nil, value)
		}
		if _, err := builder.Build(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	builder := &Builder{}
	for range 1000 {
		builder.Append(1, []byte("key"), make([]byte, 100))
	}
	batch, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range batch.Records() {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
