package tiering

import (
	"bytes"
	"context"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// Everything of an upload but the request: one pass over the log for the chunk
// table, and one to send it.
func BenchmarkSegmentObject(b *testing.B) {
	log := make([]byte, 16<<20)
	f := footer{endOffset: 1, chunkBytes: 4 << 20}
	b.SetBytes(int64(len(log)))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		obj, err := newObject(f, storage.SegmentFiles{Log: section(log)})
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

// What a manifest with a long history costs an upload.
func BenchmarkManifest(b *testing.B) {
	p := newPaper()
	for i := range int64(9000) {
		p.m.append(testSegment(i*10, i*10+10, 1000, i))
		p.m.seal(p.shape, "00112233aabbccdd")
	}
	p.m.Sequence = 1
	for b.Loop() {
		encoded, err := p.m.encode()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(encoded)), "bytes/manifest")
	}
}

// A read whose chunk is in the cache does not copy.
func BenchmarkCachedRead(b *testing.B) {
	log := &fakeLog{remoteEnd: -1}
	m := New(Options{Bucket: nil})
	m.o.ReadAheadChunks = -1
	content := bytes.Repeat(benchBatch(b), 100)
	log.end = 1
	p := m.newPartition(Partition{}, log)
	s := testSegment(0, 1, int64(len(content)), 1)
	p.manifest.Store(&manifest{Sequence: 1, EndOffset: 1, Segments: 1, Bytes: s.Bytes, Recent: []segment{s}})
	m.mu.partitions[p.TopicPartition] = p
	key := p.prefix + s.Name
	m.tails.mu.lru.Add(key, &tail{footer: footer{logBytes: s.Bytes, chunkBytes: 4 << 20, endOffset: 1}})
	m.chunks.mu.lru.Add(chunkKey{key, 0}, content)
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		out, _, err := m.Read(context.Background(), p.TopicPartition, 0, 1<<20, 1<<60)
		if err != nil || len(out) != len(content) {
			b.Fatal(len(out), err)
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
