package tiering

import (
	"context"
	"time"

	"github.com/varvelog/varve/tiering/format"
)

// maxRequestBytes bounds the bytes of chunks that one request fetches; a larger chunk is a
// request by itself.
const maxRequestBytes = 4 << 20

// chunkRun returns the run of chunks of a segment from the i-th on, up to so many bytes, that one
// request can fetch: they are adjacent in the object.
func (r *segmentReader) chunkRun(i int, bytes int64) run[chunkKey, []byte] {
	chunks := r.index.Chunks[i:r.chunks()]
	n, total := 1, int64(chunks[0].StoredBytes)
	for n < len(chunks) && chunks[n].Position == chunks[n-1].End() && total+int64(chunks[n].StoredBytes) <= min(bytes, maxRequestBytes) {
		total += int64(chunks[n].StoredBytes)
		n++
	}
	keys := make([]chunkKey, n)
	for k := range keys {
		keys[k] = r.keyOf(&chunks[k])
	}
	return run[chunkKey, []byte]{
		keys:  keys,
		bytes: func(k int) int64 { return int64(chunks[k].StoredBytes) },
		read:  func(ctx context.Context, n int) ([]result[[]byte], int64) { return r.readChunks(ctx, chunks[:n]) },
	}
}

// readChunks reads consecutive chunks, from the disk cache where it has them. It returns how many
// bytes were read from the object store.
func (r *segmentReader) readChunks(ctx context.Context, chunks []format.Chunk) (out []result[[]byte], moved int64) {
	m := r.p.m
	out = make([]result[[]byte], len(chunks))
	for i := range chunks {
		out[i].value = m.fromDisk(ctx, r.keyOf(&chunks[i]), &chunks[i])
	}
	for from := 0; from < len(chunks); from++ {
		to := from
		for ; to < len(chunks) && out[to].value == nil; to++ {
			moved += int64(chunks[to].StoredBytes)
		}
		if to == from {
			continue // the disk had it
		}
		began := time.Now()
		copy(out[from:], m.objects.readChunks(ctx, r.key, r.s.At, chunks[from:to]))
		m.readAhead.took(time.Since(began))
		for ; from < to; from++ {
			r.p.looked(r.keyOf(&chunks[from]), out[from].err)
			m.fetched(r.keyOf(&chunks[from]), out[from].value)
		}
	}
	return out, moved
}

func (r *segmentReader) keyOf(c *format.Chunk) chunkKey { return chunkKey{r.key, r.s.At + c.Position} }
