package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// chunkKey names a chunk of a segment object.
type chunkKey struct {
	object string
	chunk  int
}

// Read returns whole batches from the one that holds offset on: at least one,
// however large, and not more than maxBytes beyond that. It ends where the
// segment does, or earlier where a chunk does, and before the first batch that
// reaches to limit or past it (limit is exclusive, so a batch may end at it);
// if that is the first one the result is empty.
//
// The bytes are shared with the cache and with other readers: read only. They stay valid
// for as long as they are referred to, and keep up to held bytes in memory for so long.
func (m *Manager) Read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (_ []byte, held int, err error) {
	ctx, span := m.span(ctx, "read remote tier", tp, offset)
	defer func() { endSpan(span, err) }()
	p, current, err := m.current(ctx, tp, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("read remote tier of %s at offset %d: %w", tp, offset, err)
	}
	out, next, err := p.read(ctx, current, offset, maxBytes, limit)
	if errors.Is(err, objstore.ErrNotFound) {
		if newer := p.newer(ctx, current); newer != nil { // the segment expired while we looked
			out, next, err = p.read(ctx, newer, offset, maxBytes, limit)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read remote tier of %s at offset %d: %w", tp, offset, err)
	}
	m.prefetch(p, offset, next)
	out, held = compact(out, int(next.tail.chunkBytes))
	return out, held, nil
}

// compact returns batches that lie in a chunk, and how much memory they hold: all of the
// chunk, unless that would be more than twice as much as they need.
func compact(batches []byte, chunk int) (_ []byte, held int) {
	if 2*len(batches) < chunk {
		return bytes.Clone(batches), len(batches)
	}
	return batches, max(len(batches), chunk)
}

// everything has current find a manifest that reaches to where the local log begins.
const everything = -1

// current finds the partition and its manifest, which reaches beyond offset if
// the tier does. It waits for the first attempt to load it, which then comes before those
// that nobody waits for, and no longer than ctx allows.
func (m *Manager) current(ctx context.Context, tp metadata.TopicPartition, offset int64) (*partition, *manifest, error) {
	p, ok := m.partition(tp)
	if !ok {
		return nil, nil, ErrUnknownPartition
	}
	if p.follower != nil {
		if offset == everything {
			offset = p.log.LocalStartOffset() - 1
		}
		current, err := p.followed(ctx, offset, false)
		return p, current, err
	}
	if current := p.manifest.Load(); current != nil {
		return p, current, nil
	}
	if offset == everything {
		offset = p.log.LocalStartOffset() - 1
	}
	if p.inherited.serves(offset, m.o.Now(), m.o.DeleteDelay) {
		return p, p.inherited.manifest, nil
	}
	m.scheduler.hurry(p.owning)
	select {
	case <-p.tried:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case <-m.fetcher.stopped:
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	if current := p.manifest.Load(); current != nil {
		return p, current, nil
	}
	switch reason := p.lastErr(); {
	case reason == nil:
		return nil, nil, fmt.Errorf("%w: the manifest is not loaded", ErrUnavailable)
	case errors.Is(reason, ErrCorrupt), errors.Is(reason, ErrUnsupportedFormat):
		return nil, nil, reason
	default:
		return nil, nil, fmt.Errorf("%w: the manifest is not loaded: %w", ErrUnavailable, reason)
	}
}

// newer is the partition's present manifest if it is not current, nil otherwise.
func (p *partition) newer(ctx context.Context, current *manifest) *manifest {
	if p.follower != nil {
		if _, err := p.followed(ctx, 0, true); err != nil {
			return nil // the reader's error says enough
		}
	}
	if newer := p.manifest.Load(); newer != current {
		return newer
	}
	return nil
}

// position is where a read ended, for the read-ahead.
type position struct {
	segment segment
	tail    *tail
	at      int64 // in the log bytes
	offset  int64 // that follows
}

func (p *partition) read(ctx context.Context, m *manifest, offset int64, maxBytes int, limit int64) ([]byte, position, error) {
	for {
		s, err := m.locate(ctx, offset, p.loadPage)
		if err != nil {
			return nil, position{}, err
		}
		r, err := p.open(ctx, s)
		if err != nil {
			return nil, position{}, err
		}
		at, err := r.seek(ctx, offset)
		if err != nil {
			return nil, position{}, err
		}
		if at == r.tail.logBytes { // no batch reaches to the end of the segment's range
			if offset = s.EndOffset; offset == m.EndOffset {
				return nil, position{}, fmt.Errorf("%w: it ends at offset %d", ErrNoBatchFollows, m.EndOffset)
			}
			continue
		}
		out, next, err := r.collect(ctx, at, offset, maxBytes, limit)
		return out, position{s, r.tail, at + int64(len(out)), next}, err
	}
}

// segmentReader reads the log bytes of one segment object.
type segmentReader struct {
	p    *partition
	key  string
	tail *tail
}

func (p *partition) open(ctx context.Context, s segment) (*segmentReader, error) {
	key := p.prefix + s.Name
	t, err := p.m.tails.get(ctx, key, p.tailReader(key, s))
	if err != nil {
		return nil, err
	}
	return &segmentReader{p, key, t}, nil
}

func (p *partition) tailReader(key string, s segment) func(context.Context) (*tail, error) {
	return func(ctx context.Context) (*tail, error) {
		t, err := p.m.objects.readTail(ctx, key, s)
		p.looked(chunkKey{key, noChunk}, err)
		return t, err
	}
}

// chunk returns a chunk; it is shared and read only.
func (r *segmentReader) chunk(ctx context.Context, i int) ([]byte, error) {
	return r.p.m.chunks.get(ctx, chunkKey{r.key, i}, r.p.chunkReader(r.key, r.tail, i))
}

func (p *partition) chunkReader(key string, t *tail, i int) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		b, err := p.m.objects.readChunk(ctx, key, t, i)
		p.looked(chunkKey{key, i}, err)
		return b, err
	}
}

// span returns the log bytes from at on: all of the chunk from there if that is
// n bytes at the least, without a copy; otherwise a copy of n bytes of several chunks.
func (r *segmentReader) span(ctx context.Context, at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at+n > r.tail.logBytes {
		return nil, fmt.Errorf("%w: %s: batch at %d runs past the end of the log", ErrCorrupt, r.key, at)
	}
	size := int64(r.tail.chunkBytes)
	first, err := r.chunk(ctx, int(at/size))
	if err != nil {
		return nil, err
	}
	if from := at % size; from+n <= int64(len(first)) {
		return first[from:len(first):len(first)], nil
	}
	out := append(make([]byte, 0, n), first[at%size:]...)
	for int64(len(out)) < n {
		next, err := r.chunk(ctx, int((at+int64(len(out)))/size))
		if err != nil {
			return nil, err
		}
		out = append(out, next[:min(int64(len(next)), n-int64(len(out)))]...)
	}
	return out, nil
}

// header returns the header of the batch at a position, as a view that has no records.
func (r *segmentReader) header(ctx context.Context, at int64) (record.Batch, error) {
	b, err := r.span(ctx, at, record.HeaderSize)
	if err != nil {
		return nil, err
	}
	h := record.Batch(b[:record.HeaderSize])
	if h.Magic() != record.MagicV2 || h.Size() < record.HeaderSize || h.LastOffsetDelta() < 0 || at+int64(h.Size()) > r.tail.logBytes {
		return nil, fmt.Errorf("%w: %s: no batch at %d", ErrCorrupt, r.key, at)
	}
	return h, nil
}

// seek finds the position of the batch that holds offset, or of the first one
// after it, or the end of the log bytes.
func (r *segmentReader) seek(ctx context.Context, offset int64) (int64, error) {
	at := storage.LookupOffset(r.tail.offsetIndex, r.tail.baseOffset, offset)
	for at < r.tail.logBytes {
		h, err := r.header(ctx, at)
		if err != nil {
			return 0, err
		}
		if h.LastOffset() >= offset {
			break
		}
		at += int64(h.Size())
	}
	return at, nil
}

// collect returns whole batches from a position on, as Read says, and the
// offset that follows them.
func (r *segmentReader) collect(ctx context.Context, at, offset int64, maxBytes int, limit int64) ([]byte, int64, error) {
	h, err := r.header(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	want, chunk := int64(h.Size()), int64(r.tail.chunkBytes)
	// A batch that lies across chunks must be copied; then the rest of its last
	// chunk, as far as it is wanted, comes along for little.
	if last := (at + want - 1) / chunk; at/chunk != last {
		want = min((last+1)*chunk, r.tail.logBytes, at+max(int64(maxBytes), want)) - at
	}
	span, err := r.span(ctx, at, want)
	if err != nil {
		return nil, 0, err
	}
	n := 0
	for rest := span; ; {
		b, after, splitErr := record.Split(rest)
		if errors.Is(splitErr, record.ErrTruncated) {
			break
		}
		if splitErr != nil {
			return nil, 0, fmt.Errorf("%w: %s: batch at %d: %w", ErrCorrupt, r.key, at+int64(n), splitErr)
		}
		if (n > 0 && n+len(b) > maxBytes) || b.NextOffset() > limit {
			break
		}
		n += len(b)
		offset = b.NextOffset()
		rest = after
	}
	return span[:n:n], offset, nil
}
