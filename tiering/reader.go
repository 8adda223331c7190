package tiering

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/format"
)

// chunkKey identifies a chunk by its object and its position there.
type chunkKey struct {
	object string
	at     int64
}

// indexKey identifies an index in an object: by the position of its segment, or if the segment has
// several indexes, by the index's own.
type indexKey struct {
	object string
	at     int64
}

// indexed is an index of a segment: a *format.Index or a txnIndex.
type indexed interface{ Cost() int64 }

// lookUp is cache.get for an index of one type. All values of a key have one type.
func lookUp[T indexed](ctx context.Context, c *cache[indexKey, indexed], key indexKey, read func(context.Context) (T, error)) (T, error) {
	x, err := c.get(ctx, key, func(ctx context.Context) (indexed, error) { return read(ctx) })
	if err != nil {
		var none T
		return none, err
	}
	return x.(T), nil
}

// Read returns whole batches, beginning with the one that contains offset, or the next one if there
// is none. The first batch is returned however large it is; more follow while the total is at most
// maxBytes. Read never crosses a segment, and ends before a chunk that is not in memory, unless it
// is the first. It also ends before the first batch that extends beyond limit (exclusive, so a
// batch may end at it). If that is the first batch the result is empty.
func (m *Manager) Read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (_ Batches, err error) {
	ctx, span := m.span(ctx, "read remote tier", tp, offset)
	defer func() { endSpan(span, err) }()
	p, current, err := m.current(ctx, tp, offset)
	if err != nil {
		return Batches{}, fmt.Errorf("read remote tier of %s at offset %d: %w", tp, offset, err)
	}
	r := reading{offset: offset, maxBytes: maxBytes, limit: limit, began: time.Now()}
	r.requestBytes, r.goesOn = m.readAhead.expected(p.placeAt(offset))
	err = p.read(ctx, current, &r)
	if errors.Is(err, objstore.ErrNotFound) {
		if newer := p.newer(ctx, current); newer != nil { // the segment expired during the read
			err = p.read(ctx, newer, &r)
		}
	}
	if err != nil {
		return Batches{}, fmt.Errorf("read remote tier of %s at offset %d: %w", tp, offset, err)
	}
	m.prefetch(ctx, p, &r)
	return r.batches, nil
}

// reading is one Read in progress.
type reading struct {
	offset   int64
	maxBytes int
	limit    int64

	began        time.Time
	goesOn       bool  // the reader continues where an earlier read ended
	requestBytes int64 // what one request may fetch for it; 0: one chunk

	batches Batches
	end     position // the end of the batches
	waited  bool     // a chunk was not in memory
}

// everything makes current return a manifest that reaches to where the local log begins.
const everything = -1

// current returns the partition and its manifest, which reaches beyond offset if the tier does. It
// waits for the first attempt to load it, which is then moved before those for which no reader
// waits, and no longer than ctx allows.
func (m *Manager) current(ctx context.Context, tp metadata.TopicPartition, offset int64) (*partition, *format.Manifest, error) {
	p, ok := m.partition(tp)
	if !ok {
		return nil, nil, ErrUnknownPartition
	}
	if p.follower != nil {
		if offset == everything {
			offset = p.log.LocalStartOffset() - 1
		}
		if ReaderOf(ctx).Cached {
			if last := p.follower.last.Load(); last.serves(offset, m.o.Now(), m.o.DeleteDelay) {
				return p, last.manifest, nil
			}
			return p, nil, ErrNotCached
		}
		current, err := p.followed(ctx, offset, false)
		return p, current, err
	}
	if current, err := p.wholeForReaders(ctx); current != nil || err != nil {
		return p, current, err
	}
	if offset == everything {
		offset = p.log.LocalStartOffset() - 1
	}
	if p.inherited.serves(offset, m.o.Now(), m.o.DeleteDelay) {
		return p, p.inherited.manifest, nil
	}
	if ReaderOf(ctx).Cached {
		return nil, nil, ErrNotCached
	}
	m.scheduler.hurry(p.owning)
	if tried := p.tried(); tried != nil {
		m.scheduler.push(p.owning) // it may be waiting for AttachDelay
		if !stepped.Done(ctx, -1, tried) {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	if current, err := p.wholeForReaders(ctx); current != nil || err != nil {
		return p, current, err
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

// newer returns the partition's present manifest if it differs from current, otherwise nil.
func (p *partition) newer(ctx context.Context, current *format.Manifest) *format.Manifest {
	if p.follower != nil {
		if _, err := p.followed(ctx, 0, true); err != nil {
			return nil // the reader's own error is enough
		}
	}
	newer, err := p.wholeForReaders(ctx)
	if err != nil || newer == nil || newer.Name() == current.Name() {
		return nil
	}
	return newer
}

// position is where a read ended, for the read-ahead.
type position struct {
	reader *segmentReader
	chunk  int
	offset int64 // the next offset to read
}

// locate finds the segment that serves an offset, loading pages if necessary.
func (p *partition) locate(ctx context.Context, m *format.Manifest, offset int64) (*format.Segment, error) {
	if offset < m.StartOffset || offset >= m.EndOffset {
		return nil, fmt.Errorf("%w: %d is outside of [%d, %d)", ErrOffsetOutOfRange, offset, m.StartOffset, m.EndOffset)
	}
	return m.Tree(p.loadPage).Find(ctx, offset)
}

func (p *partition) read(ctx context.Context, m *format.Manifest, r *reading) error {
	for offset := r.offset; ; {
		s, err := p.locate(ctx, m, offset)
		if err != nil {
			return err
		}
		segment, err := p.open(ctx, s)
		if err != nil {
			return err
		}
		if err = segment.collect(ctx, r, offset); err != nil || r.end.chunk < segment.chunks() {
			return err
		}
		// No batch of the segment reaches to the end of its range: the read continues in the next
		// one.
		if offset = s.EndOffset; offset == m.EndOffset {
			return fmt.Errorf("%w: it ends at offset %d", ErrNoBatchFollows, m.EndOffset)
		}
	}
}

// segmentReader reads the log bytes of one segment object.
type segmentReader struct {
	p     *partition
	key   string
	s     *format.Segment
	index *format.Index
}

func (p *partition) open(ctx context.Context, s *format.Segment) (*segmentReader, error) {
	key := p.prefix + s.Name
	x, err := lookUp(ctx, p.m.indexes, indexKey{key, s.At}, p.indexReader(key, s))
	if err != nil {
		return nil, err
	}
	return &segmentReader{p, key, s, x}, nil
}

func (p *partition) indexReader(key string, s *format.Segment) func(context.Context) (*format.Index, error) {
	return func(ctx context.Context) (*format.Index, error) {
		x, err := p.m.objects.readIndex(ctx, key, s)
		p.looked(chunkKey{key, noChunk}, err)
		return x, err
	}
}

// chunks returns how many chunks, from the first one on, have batches of the segment's range.
func (r *segmentReader) chunks() int { return r.index.Chunks.AtOffset(r.s.EndOffset-1) + 1 }

// chunk returns a chunk; it is shared and read only.
func (r *segmentReader) chunk(ctx context.Context, i int) ([]byte, error) {
	b, _, err := r.p.m.chunks.getRun(ctx, r.p.m.fetcher, r.chunkRun(i, 0))
	return b, err
}

func (r *segmentReader) chunkKey(i int) chunkKey { return r.keyOf(&r.index.Chunks[i]) }

// batches yields the batches of a chunk that are in the segment's range, each with its position in
// the chunk. A chunk holds whole batches only.
func (r *segmentReader) batches(chunk []byte) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		for at := 0; at < len(chunk); {
			b, _, err := record.Split(chunk[at:])
			if err != nil || len(b) < record.HeaderSize || b.LastOffsetDelta() < 0 {
				yield(placed{}, errors.Join(fmt.Errorf("%w: %s: there is no batch at byte %d of a chunk", ErrCorrupt, r.key, at), err))
				return
			}
			if b.BaseOffset() >= r.s.EndOffset || !yield(placed{b, at}, nil) {
				return
			}
			at += len(b)
		}
	}
}

// placed is a batch and its position in a chunk.
type placed struct {
	record.Batch

	at int
}

// collect adds whole batches, beginning with the one that contains an offset or the first one after
// it, as Read does, without a copy. reading.end is the end of the last batch taken. If none was
// taken it is the offset: in one of the segment's chunks if the limit ended the read, after the
// last chunk if no batch of the segment reaches the offset.
func (r *segmentReader) collect(ctx context.Context, reading *reading, offset int64) error {
	end := &reading.end
	*end = position{reader: r, chunk: r.index.Chunks.AtOffset(offset), offset: offset}
	for ; end.chunk < r.chunks(); end.chunk++ {
		chunk, err := r.firstChunk(ctx, reading)
		if err != nil {
			return err
		}
		found, whole, err := r.take(reading, chunk)
		switch {
		case err != nil, found && !whole:
			return err
		case found:
			r.p.m.chunks.spend(r.chunkKey(end.chunk))
			return r.takeMore(reading)
		}
	}
	return nil
}

// firstChunk returns the chunk at the end of what was read so far. A use that begins in the middle
// of a chunk continues the use that has read it up to there.
func (r *segmentReader) firstChunk(ctx context.Context, reading *reading) ([]byte, error) {
	i := reading.end.chunk
	run := r.chunkRun(i, reading.requestBytes)
	run.goesOn = reading.goesOn && r.index.Chunks[i].BaseOffset < reading.offset
	chunk, waited, err := r.p.m.chunks.getRun(ctx, r.p.m.fetcher, run)
	reading.waited = reading.waited || waited
	return chunk, err
}

// takeMore continues with the next chunks while they are in memory.
func (r *segmentReader) takeMore(reading *reading) error {
	end := &reading.end
	for end.chunk+1 < r.chunks() && reading.batches.Len() < reading.maxBytes {
		key, parts := r.chunkKey(end.chunk+1), len(reading.batches.Parts)
		chunk, ok := r.p.m.chunks.peek(key)
		if !ok {
			return nil
		}
		_, whole, err := r.take(reading, chunk)
		if err != nil || len(reading.batches.Parts) == parts {
			return err
		}
		end.chunk++
		r.p.m.chunks.use(key)
		if !whole {
			return nil
		}
		r.p.m.chunks.spend(key)
	}
	return nil
}

// take adds batches of the chunk at the end, or of the next one. found is true if a batch reaches
// beyond the end, whole if the last batch of the chunk was taken.
func (r *segmentReader) take(reading *reading, chunk []byte) (found, whole bool, err error) {
	end, before, start := &reading.end, reading.batches.Len(), reading.end.offset
	from, to, last := -1, 0, 0
	for b, err := range r.batches(chunk) {
		if err != nil {
			return false, false, err
		}
		if b.LastOffset() < start {
			continue
		}
		if from < 0 {
			from, to = b.at, b.at
		}
		last = b.at + len(b.Batch)
		if b.NextOffset() > reading.limit || before+to-from > 0 && before+last-from > reading.maxBytes {
			break
		}
		to, end.offset = last, b.NextOffset()
	}
	if from < 0 {
		return false, false, nil
	}
	if to > from {
		reading.batches.add(chunk[from:to:to], chunk)
	}
	return true, to == last, nil
}
