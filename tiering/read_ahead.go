package tiering

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering/format"
)

// maxReadSessions is how many sequential readers are remembered.
const maxReadSessions = 1024

// readAhead recognises sequential readers without knowing who they are: one
// that asks for the offset at which a read ended is taken for the same reader.
// The more often it does, the further the cache runs ahead of it.
type readAhead struct {
	mu struct {
		sync.Mutex
		sessions *simplelru.LRU[readSession, int]
	}
}

// readSession is a reader that is expected to go on at an offset.
type readSession struct {
	id        metadata.TopicID
	partition int32
	offset    int64
}

func newReadAhead() *readAhead {
	r := &readAhead{}
	sessions, err := simplelru.NewLRU[readSession, int](maxReadSessions, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	r.mu.sessions = sessions
	return r
}

// streak notes a read from offset up to next and tells how many reads in a row
// the reader has made before.
func (r *readAhead) streak(id metadata.TopicID, partition int32, offset, next int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	if before, ok := r.mu.sessions.Get(readSession{id, partition, offset}); ok {
		r.mu.sessions.Remove(readSession{id, partition, offset})
		n = before + 1
	}
	r.mu.sessions.Add(readSession{id, partition, next}, n)
	return n
}

// prefetch has the next chunks read for a sequential reader, also those of the
// segment that follows. It never waits and never fails: what it cannot do now
// the reader will ask for.
func (m *Manager) prefetch(ctx context.Context, p *partition, offset int64, end position) {
	if m.o.ReadAheadChunks <= 0 || end.offset <= offset {
		return
	}
	depth := min(m.readAhead.streak(p.TopicID, p.TopicPartition.Partition, offset, end.offset), m.o.ReadAheadChunks)
	if depth == 0 {
		return
	}
	// The chunk that the reader is in is there; from the next one on.
	for i := end.chunk + 1; depth > 0 && i < end.reader.chunks(); i++ {
		m.chunkAhead(end.reader, i)
		depth--
	}
	if depth > 0 {
		m.segmentAhead(ctx, p, end.reader.s.EndOffset, depth)
	}
}

func (m *Manager) chunkAhead(r *segmentReader, i int) {
	if m.chunks.ahead(r.chunkKey(i), r.chunkReader(i)) {
		m.metrics.readAhead.Inc()
	}
}

// segmentAhead reads the first chunks of the segment at offset, and its index before.
func (m *Manager) segmentAhead(ctx context.Context, p *partition, offset int64, depth int) {
	s, ok := p.cachedSegment(ctx, offset)
	if !ok || s.Supported() != nil {
		return
	}
	key := p.prefix + s.Name
	first := func(x *format.Index) {
		r := &segmentReader{p, key, s, x}
		from := x.Chunks.AtOffset(offset)
		for i := from; i < min(from+depth, r.chunks()); i++ {
			m.chunkAhead(r, i)
		}
	}
	if x, found := m.indexes.peek(indexKey{key, s.At}); found {
		first(x.(*format.Index))
		return
	}
	read := p.indexReader(key, s)
	m.indexes.ahead(indexKey{key, s.At}, func(ctx context.Context) (indexed, error) {
		x, err := read(ctx)
		if err == nil {
			first(x)
		}
		return x, err
	})
}

// errNotCached ends the way to a segment at a page that would have to be read.
var errNotCached = errors.New("page is not in the cache")

// cachedSegment finds a segment without reading a page.
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
		return nil, errNotCached
	}
	s, err := current.Tree(cached).Find(ctx, offset)
	return s, err == nil
}
