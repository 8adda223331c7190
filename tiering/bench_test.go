package tiering

import (
	"bytes"
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// BenchmarkSegmentObject measures an upload without the request: one pass over the log for
// checksums and the directory, and one to send it.
func BenchmarkSegmentObject(b *testing.B) {
	log := bytes.Repeat(benchBatch(b), 1600)
	d := format.Description{EndOffset: 1, ChunkBytes: 4 << 20}
	b.SetBytes(int64(len(log)))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		// The same batch over and over has chunks that do not ascend, but nothing decodes them
		// here.
		obj, err := newObject(d, storage.SegmentFiles{Log: section(log)})
		if err != nil {
			b.Fatal(err)
		}
		body := obj.body()
		for {
			if n, _ := body.Read(buf); n == 0 {
				break
			}
		}
	}
}

// BenchmarkManifest measures what a manifest with a long history adds to an upload.
func BenchmarkManifest(b *testing.B) {
	m := &format.Manifest{LastEpoch: -1}
	for i := range int64(9000) {
		m.Append(format.Edit{}, benchSegment(i*10, i*10+10, 1000))
		if _, err := m.Seal(format.DefaultShape, "00112233aabbccdd"); err != nil {
			b.Fatal(err)
		}
	}
	m.Sequence = 1
	for b.Loop() {
		encoded, _, err := m.Encode()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(encoded)), "bytes/manifest")
	}
}

func benchSegment(start, end, size int64) format.Segment {
	return format.Segment{
		Name:       format.Name{Kind: format.KindSegment, StartOffset: start, LeaderEpoch: 4, Attempt: "00112233aabbccdd"}.String(),
		BaseOffset: start, StartOffset: start, EndOffset: end, Bytes: size, ObjectBytes: size + 1000, HotBytes: 500, Epochs: []format.Epoch{{4, start}},
	}
}

// BenchmarkCachedRead: a read whose chunk is in the cache does not copy.
func BenchmarkCachedRead(b *testing.B) {
	log := &fakeLog{remoteEnd: -1}
	m := New(Options{Bucket: nil})
	m.o.ReadAheadBytes = -1
	content := bytes.Repeat(benchBatch(b), 100)
	log.end = 1
	p := m.newPartition(Partition{}, log)
	s := benchSegment(0, 1, int64(len(content)))
	p.manifest.Store(&format.Manifest{Sequence: 1, EndOffset: 1, Segments: 1, Bytes: s.Bytes, Recent: []format.Segment{s}})
	m.mu.partitions[p.TopicPartition] = p
	key := p.prefix + s.Name
	m.indexes.put(indexKey{key, 0}, &format.Index{Chunks: format.Directory{{StoredBytes: len(content), PlainBytes: len(content), Batches: 100}}})
	m.chunks.put(chunkKey{key, 0}, content)
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		out, err := m.Read(context.Background(), p.TopicPartition, 0, 1<<20, 1<<60)
		if err != nil || out.Len() != len(content) {
			b.Fatal(out.Len(), err)
		}
	}
}

func benchBatch(b *testing.B) []byte {
	b.Helper()
	var builder record.Builder
	builder.Append(1, nil, make([]byte, 10_000))
	batch, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// BenchmarkColdRead measures a sequential reader of a store with 20 ms to the first byte and 50
// MB/s a connection, one of a store without latency, twelve readers together, and the time to
// the first record.
func BenchmarkColdRead(b *testing.B) {
	for _, c := range []struct {
		name      string
		readers   int
		firstByte time.Duration
		rate      int64
	}{
		{"one reader, 20 ms, 50 MB/s", 1, 20 * time.Millisecond, 50_000_000},
		{"12 readers, 20 ms, 50 MB/s", 12, 20 * time.Millisecond, 50_000_000},
		{"one reader, no wait", 1, 0, math.MaxInt64},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, stop := newModelled(b.Context(), c.readers, 48/c.readers, 4096/testChunkKiB, testChunkKiB<<10)
			defer stop()
			w.store.firstByte, w.store.rate = c.firstByte, c.rate
			b.ReportAllocs()
			b.SetBytes(int64(c.readers) * w.bytes())
			for b.Loop() {
				w.m.chunks.forget()
				var group sync.WaitGroup
				for n := range c.readers {
					group.Go(func() {
						if got, err := w.replay(b.Context(), n, 0, w.end(), 1<<20, 0); err != nil || got != w.bytes() {
							b.Errorf("%d bytes, %v", got, err)
						}
					})
				}
				group.Wait()
			}
			gets, bytes := w.store.counts()
			b.ReportMetric(float64(gets)/float64(b.N), "requests/op")
			b.ReportMetric(float64(bytes)/float64(b.N)/float64(int64(c.readers)*w.bytes()), "read/delivered")
		})
	}
	b.Run("first record, 20 ms, 50 MB/s", func(b *testing.B) {
		w, stop := newModelled(b.Context(), 1, 1, 1024, testChunkKiB<<10)
		defer stop()
		w.store.rate = 50_000_000
		for b.Loop() {
			w.m.chunks.forget()
			w.m.indexes.forget()
			if _, err := w.m.Read(b.Context(), w.tp(0), 500, 1<<20, 1<<60); err != nil {
				b.Fatal(err)
			}
		}
	})
}

const testChunkKiB = 256
