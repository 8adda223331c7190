package tiering

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/varvelog/varve/metadata"
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
func (m *Manager) prefetch(p *partition, offset int64, end position) {
	if m.o.ReadAheadChunks <= 0 || end.offset <= offset {
		return
	}
	depth := min(m.readAhead.streak(p.TopicID, p.TopicPartition.Partition, offset, end.offset), m.o.ReadAheadChunks)
	if depth == 0 {
		return
	}
	key := p.prefix + end.segment.Name
	t := end.tail
	// The chunk that the reader is in is there; from the next one on.
	for i := int((end.at-1)/int64(t.chunkBytes)) + 1; depth > 0 && i < t.chunkCount(); i++ {
		m.chunkAhead(p, key, t, i)
		depth--
	}
	if depth > 0 {
		m.segmentAhead(p, end.segment.EndOffset, depth)
	}
}

func (m *Manager) chunkAhead(p *partition, key string, t *tail, i int) {
	if m.chunks.ahead(chunkKey{key, i}, p.chunkReader(key, t, i)) {
		m.metrics.readAhead.Inc()
	}
}

// segmentAhead reads the first chunks of the segment at offset, and its index before.
func (m *Manager) segmentAhead(p *partition, offset int64, depth int) {
	s, ok := p.cachedSegment(offset)
	if !ok {
		return
	}
	key := p.prefix + s.Name
	first := func(t *tail) {
		for i := range min(depth, t.chunkCount()) {
			m.chunkAhead(p, key, t, i)
		}
	}
	if t, found := m.tails.peek(key); found {
		first(t)
		return
	}
	read := p.tailReader(key, s)
	m.tails.ahead(key, func(ctx context.Context) (*tail, error) {
		t, err := read(ctx)
		if err == nil {
			first(t)
		}
		return t, err
	})
}

// cachedSegment finds a segment without reading a page.
func (p *partition) cachedSegment(offset int64) (segment, bool) {
	current := p.manifest.Load()
	if current == nil || offset < current.StartOffset || offset >= current.EndOffset {
		return segment{}, false
	}
	s, ref := current.find(offset)
	for s == nil {
		if ref == nil {
			return segment{}, false
		}
		pg, found := p.m.pages.peek(p.prefix + ref.Name)
		if !found {
			return segment{}, false
		}
		s, ref = findSegment(pg.Segments, offset), findPage(pg.Pages, offset)
	}
	return *s, true
}
