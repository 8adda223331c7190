package tiering

import (
	"context"
	"time"

	"github.com/varvelog/varve/tiering/format"
)

// maxIndexesAhead bounds the indexes that are requested at a time ahead of one reader, where
// segments are small.
const maxIndexesAhead = 8

// prefetch starts reads of the next chunks for a sequential reader, also in the segments that
// follow. It never waits and never fails: what it cannot start now the reader will request.
func (m *Manager) prefetch(ctx context.Context, p *partition, r *reading) {
	if r.end.offset <= r.offset {
		return
	}
	from, to := p.placeAt(r.offset), p.placeAt(r.end.offset)
	m.readAhead.mu.Lock()
	defer m.readAhead.mu.Unlock()
	s := m.readAhead.advanceLocked(from, to, int64(r.batches.Len()), r.waited, r.began, time.Now())
	if s == nil || m.readAhead.budget <= 0 {
		return
	}
	if behind := r.end.reader.behind(r.end.chunk); s.next < behind {
		s.next, s.distance = behind, 0
	}
	m.indexesAhead(ctx, p, s)
	for request := s.request(); s.window-s.distance >= min(request, s.window); {
		next, bytes := m.planAhead(ctx, p, r.end.reader, s.next, request)
		if bytes == 0 {
			return
		}
		s.next = next
		s.distance += bytes
		s.lead -= bytes
	}
}

// placeAt returns the place of a reader of the partition.
func (p *partition) placeAt(offset int64) readPlace {
	return readPlace{p.TopicID, p.TopicPartition.Partition, offset}
}

// behind returns the offset at which the next chunk begins, or the next segment.
func (r *segmentReader) behind(chunk int) int64 {
	if chunk+1 < r.chunks() {
		return r.index.Chunks[chunk+1].BaseOffset
	}
	return r.s.EndOffset
}

// planAhead starts reads of chunks from an offset on, with one request at most. It returns where
// they end, and their bytes, including chunks that are there or being read; 0: nothing can be
// planned now. current is the segment that the reader is in.
func (m *Manager) planAhead(ctx context.Context, p *partition, current *segmentReader, offset, bytes int64) (next, planned int64) {
	r := current
	if offset >= current.s.EndOffset {
		if r = m.openCached(ctx, p, offset); r == nil {
			return offset, 0
		}
	}
	i := r.index.Chunks.AtOffset(offset)
	run := r.chunkRun(i, bytes)
	n := m.chunks.there(run.keys)
	if n == 0 {
		if n = m.chunks.fetchAhead(ctx, run); n == 0 {
			return offset, 0
		}
		m.metrics.readAhead.Add(float64(n))
	}
	for k := range n {
		planned += run.bytes(k)
	}
	return r.behind(i + n - 1), planned
}

// openCached opens the segment at an offset if its index is in memory. Otherwise it returns nil,
// and starts a read of the index.
func (m *Manager) openCached(ctx context.Context, p *partition, offset int64) *segmentReader {
	s, ok := p.cachedSegment(ctx, offset)
	if !ok || s.Supported() != nil {
		return nil
	}
	key := p.prefix + s.Name
	x, found := m.indexes.peek(indexKey{key, s.At})
	if !found {
		m.indexAhead(ctx, p, s)
		return nil
	}
	return &segmentReader{p, key, s, x.(*format.Index)}
}

// indexesAhead starts reads of the indexes of the segments that come next: the requests for their
// chunks then do not have to wait for them.
func (m *Manager) indexesAhead(ctx context.Context, p *partition, s *sequence) {
	if s.indexed < s.next {
		s.indexed, s.lead = s.next, 0
	}
	for n := 0; n < maxIndexesAhead && s.lead < s.window; n++ {
		segment, ok := p.cachedSegment(ctx, s.indexed)
		if !ok || segment.Supported() != nil {
			return
		}
		m.indexAhead(ctx, p, segment)
		s.indexed = segment.EndOffset
		s.lead += segment.Bytes
	}
}

func (m *Manager) indexAhead(ctx context.Context, p *partition, s *format.Segment) {
	key := p.prefix + s.Name
	read := p.indexReader(key, s)
	m.indexes.fetchAhead(ctx, single(indexKey{key, s.At}, func(ctx context.Context) (indexed, error) { return read(ctx) }))
}

// cachedSegment finds a segment without reading a page or a manifest.
func (p *partition) cachedSegment(ctx context.Context, offset int64) (*format.Segment, bool) {
	current := p.manifest.Load()
	if current == nil || offset < current.StartOffset || offset >= current.EndOffset {
		return nil, false
	}
	if object, outlined := current.Outlined(); outlined {
		whole, found := p.m.manifests.peek(p.prefix + object.Name)
		if !found {
			return nil, false
		}
		current = whole
	}
	cached := func(_ context.Context, r *format.PageRef) (*format.Page, error) {
		if pg, found := p.m.pages.peek(p.prefix + r.Name); found {
			return pg, nil
		}
		return nil, ErrNotCached
	}
	s, err := current.Tree(cached).Find(ctx, offset)
	return s, err == nil
}
