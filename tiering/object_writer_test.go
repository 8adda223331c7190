package tiering

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// someBatches returns batches of many sizes, some of them without a timestamp or without records.
func someBatches(t *rapid.T) (batches []record.Batch) {
	next := rapid.Int64Range(0, 1<<40).Draw(t, "base")
	for range rapid.IntRange(1, 30).Draw(t, "batches") {
		b := record.Builder{BaseOffset: next}
		size := rapid.SampledFrom([]int{1, 10, 100, 1000, 3 * format.MinChunkBytes}).Draw(t, "size")
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			ts := rapid.Int64Range(-1, 1000).Draw(t, "time")
			b.Append(ts, nil, make([]byte, size))
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			batch.SetLogAppendTime(rapid.Int64Range(0, 1000).Draw(t, "append time"))
		case 1:
			batch = record.AppendEmpty(nil, batch)
		}
		batches = append(batches, batch)
		next = batch.NextOffset() + rapid.Int64Range(0, 3).Draw(t, "gap")
	}
	return batches
}

// One pass over the log finds what is in it, and no batch spans two chunks.
func TestObjectDescribesItsLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batches := someBatches(t)
		log := bytes.Join(byteSlices(batches), nil)
		end := batches[len(batches)-1].NextOffset()
		obj, err := newObject(format.Description{
			Topic: "orders", TopicID: metadata.TopicID{1}, BaseOffset: batches[0].BaseOffset(), StartOffset: batches[0].BaseOffset(), EndOffset: end,
			ChunkBytes: format.MinChunkBytes,
		}, storage.SegmentFiles{
			Log: section(log), Index: section([]byte("index")), TimeIndex: section(nil), Snapshot: section([]byte("producers")), AbortedTxns: 3,
			LeaderEpochs: []storage.EpochEntry{{Epoch: 3, StartOffset: 0}},
		})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(obj.body())
		if err != nil || int64(len(whole)) != obj.size() || !bytes.HasPrefix(whole, log) || !bytes.HasSuffix(whole, obj.hot) {
			t.Fatalf("the object has %d bytes, %d are announced, %v", len(whole), obj.size(), err)
		}
		s := obj.entry("name", nil)
		x, err := format.ParseIndex(whole[s.ObjectBytes-s.HotBytes:], s.ObjectBytes)
		if err != nil || s.CRC32C != format.Checksum(whole[s.ObjectBytes-s.HotBytes:]) {
			t.Fatal(err)
		}
		checkChunks(t, x, batches, log)
		for kind, want := range map[format.PartType]string{format.PartSnapshot: "producers", format.PartOffsetIndex: "index"} {
			p, ok := x.Part(kind)
			if !ok || string(whole[p.Position:p.End()]) != want || format.Checksum([]byte(want)) != p.CRC32C {
				t.Fatalf("%s is not %q", kind, want)
			}
		}
		if _, ok := x.Part(format.PartTimeIndex); ok {
			t.Fatal("there is a part without content")
		}
	})
}

// checkChunks compares an index with the batches.
func checkChunks(t *rapid.T, x *format.Index, batches []record.Batch, log []byte) {
	smallest, largest, records := int64(-1), int64(-1), int64(0)
	i, at := 0, int64(0)
	for n, c := range x.Chunks {
		if c.Position != at || c.BaseOffset != batches[i].BaseOffset() {
			t.Fatalf("chunk %d begins at byte %d and offset %d, want %d and %d", n, c.Position, c.BaseOffset, at, batches[i].BaseOffset())
		}
		for range c.Batches {
			b := batches[i]
			i, at, records = i+1, at+int64(len(b)), records+int64(b.Count())
			if b.Count() == 0 {
				continue
			}
			largest = max(largest, b.MaxTimestamp())
			first := b.BaseTimestamp()
			if b.IsLogAppendTime() {
				first = b.MaxTimestamp()
			}
			if first >= 0 && (smallest < 0 || first < smallest) {
				smallest = first
			}
		}
		if c.End() != at || c.MaxTimestamp != largest || c.CRC32C != format.Checksum(log[c.Position:c.End()]) {
			t.Fatalf("chunk %d is %+v, want its end at %d and the time %d", n, c, at, largest)
		}
		if c.Batches > 1 && c.StoredBytes > format.MinChunkBytes {
			t.Fatalf("chunk %d has %d batches in %d bytes", n, c.Batches, c.StoredBytes)
		}
		if i < len(batches) && c.StoredBytes+len(batches[i]) <= format.MinChunkBytes {
			t.Fatalf("chunk %d has room for the batch that follows", n)
		}
	}
	d := x.Description
	if i != len(batches) || d.Records != records || d.Batches != int64(len(batches)) || d.MinTimestamp != smallest || d.MaxTimestamp != largest || d.Aborted != 3 {
		t.Fatalf("description %+v; want %d records and batches up to %d, times %d to %d", d, records, len(batches), smallest, largest)
	}
}

// A log that has no batch where one should be is not uploaded.
func TestDamagedLogIsNoObject(t *testing.T) {
	builder := record.Builder{}
	builder.Append(1, nil, make([]byte, 500))
	batch, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	for name, log := range map[string][]byte{
		"empty":           nil,
		"another magic":   func() []byte { b := bytes.Clone(batch); b[16] = 1; return b }(),
		"a huge length":   func() []byte { b := bytes.Clone(batch); b[8] = 0x7f; return b }(),
		"a small length":  func() []byte { b := bytes.Clone(batch); b[10], b[11] = 0, 9; return b }(),
		"bytes behind it": append(bytes.Clone(batch), make([]byte, 100)...),
		"half a header":   append(bytes.Clone(batch), batch[:50]...),
	} {
		d := format.Description{EndOffset: 1, ChunkBytes: format.MinChunkBytes}
		if _, err = newObject(d, storage.SegmentFiles{Log: section(log)}); !errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestCompositeReadsLikeOneFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var c composite
	var want []byte
	for range 20 {
		b := make([]byte, rng.IntN(50))
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		c.add(section(b))
		want = append(want, b...)
	}
	for range 2000 {
		at, n := rng.IntN(len(want)+5), rng.IntN(80)
		got := make([]byte, n)
		read, err := c.ReadAt(got, int64(at))
		expect := want[min(at, len(want)):min(at+n, len(want))]
		if !bytes.Equal(got[:read], expect) {
			t.Fatalf("read %d at %d: wrong bytes", n, at)
		}
		if wantErr := at+n > len(want) && n > 0; (err != nil) != wantErr || (err != nil && !errors.Is(err, io.EOF)) {
			t.Fatalf("read %d at %d of %d: %v", n, at, len(want), err)
		}
	}
}

// A file that has become shorter must not become a shorter object.
func TestShrunkenFileFailsTheUpload(t *testing.T) {
	builder := record.Builder{}
	builder.Append(1, nil, make([]byte, 500))
	batch, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := format.Description{EndOffset: 1, ChunkBytes: format.MinChunkBytes}
	for _, n := range []int{10, record.HeaderSize, len(batch) - 1} {
		short := io.NewSectionReader(bytes.NewReader(batch[:n]), 0, int64(len(batch)))
		if _, err = newObject(d, storage.SegmentFiles{Log: short}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("build with %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
	short := io.NewSectionReader(bytes.NewReader(make([]byte, 10)), 0, 20)
	if _, err = newObject(d, storage.SegmentFiles{Log: section(batch), Index: short}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("build with a short index: %v, want io.ErrUnexpectedEOF", err)
	}
	var c composite
	c.add(short)
	c.add(section([]byte("tail")))
	if _, err := io.ReadAll(io.NewSectionReader(&c, 0, c.size)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v, want io.ErrUnexpectedEOF", err)
	}
}

// countingReader counts the bytes that are read of a file.
type countingReader struct {
	io.ReaderAt
	bytes int64
}

func (r *countingReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	r.bytes += int64(n)
	return n, err
}

// A file is read once for all checksums, and once more when it is sent.
func TestFilesAreReadOnceForTheirChecksums(t *testing.T) {
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 50, records: 10, valueBytes: 1000})
	s := log.segments[0]
	file := &countingReader{ReaderAt: bytes.NewReader(s.log)}
	index := &countingReader{ReaderAt: bytes.NewReader(make([]byte, 1<<16))}
	obj, err := newObject(format.Description{Topic: "orders", EndOffset: s.end, ChunkBytes: format.MinChunkBytes}, storage.SegmentFiles{
		Log: io.NewSectionReader(file, 0, int64(len(s.log))), Index: io.NewSectionReader(index, 0, 1<<16), TimeIndex: section(nil), Snapshot: section(nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	for passes := int64(1); passes <= 2; passes++ {
		if file.bytes != passes*int64(len(s.log)) || index.bytes != passes<<16 {
			t.Errorf("%d bytes of a log of %d and %d of an index of %d are read, want %d passes", file.bytes, len(s.log), index.bytes, 1<<16, passes)
		}
		if _, err = io.Copy(io.Discard, obj.body()); err != nil {
			t.Fatal(err)
		}
	}
}
