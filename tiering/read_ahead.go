package tiering

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/varvelog/varve/metadata"
)

const (
	// maxReadPlaces bounds the places at which sequential readers are expected.
	maxReadPlaces = 4096
	// firstWindow is how far ahead of a reader that has returned once the cache reads, in bytes.
	firstWindow = 1 << 20
	// activeFor is how long a reader that does not return keeps a share of the read-ahead budget.
	activeFor = 10 * time.Second
	// measureOver is the number of request times over which a reader's rate is measured.
	measureOver = 4
	// countEvery is how often the active readers are counted.
	countEvery = 100 * time.Millisecond
)

// readAhead recognizes sequential readers without an identity: a read at the offset at which an
// earlier read ended is taken for the same reader. It decides how far ahead of each reader the
// cache reads: as many bytes as the reader uses in the time of two requests. A reader that has to
// wait could read faster: its window is doubled, or more, up to an equal share for all readers.
type readAhead struct {
	budget int64 // of all readers; not positive: nothing is read ahead

	mu struct {
		sync.Mutex
		// places has each sequence twice: by the place where its reader is expected, and by
		// the place before.
		places  *simplelru.LRU[readPlace, *sequence]
		active  int
		counted time.Time
		request time.Duration // average time of a request
	}
}

// readPlace is where a reader is expected to continue.
type readPlace struct {
	id        metadata.TopicID
	partition int32
	offset    int64
}

// sequence is the series of reads of one sequential reader. readAhead.mu guards it.
type sequence struct {
	at, before readPlace
	window     int64 // bytes to read ahead of it; 0: it has not returned yet
	next       int64 // offset up to which chunks were read ahead
	distance   int64 // bytes from the reader to next, approximate
	indexed    int64 // offset up to which indexes were read ahead
	lead       int64 // bytes from next to indexed, approximate
	got        int64 // bytes used from since on
	since      time.Time
	last       time.Time // when it last read
}

func newReadAhead(budget int64) *readAhead {
	r := &readAhead{budget: budget}
	r.mu.places = newLRU[readPlace, *sequence](maxReadPlaces)
	return r
}

// expected reports whether a reader is expected at a place, and how many bytes one request may
// fetch for it; 0: one chunk.
func (r *readAhead) expected(at readPlace) (requestBytes int64, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, is := r.mu.places.Get(at)
	if !is || r.budget <= 0 {
		return 0, is
	}
	return s.request(), true
}

// request returns how many bytes one request fetches for the reader: at least two requests
// fit its window.
func (s *sequence) request() int64 { return min(max(s.window, firstWindow)/2, maxRequestBytes) }

// took records the duration of a request.
func (r *readAhead) took(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.request == 0 {
		r.mu.request = d
	}
	r.mu.request += (d - r.mu.request) / 8
}

// advanceLocked records a read that began at a time, is over now, and got so many bytes from one
// place to another. It returns the sequence that the read continues. It returns nil if nothing is
// to be read ahead: for a first read, or because another reader is at the same place, for which
// that was done.
func (r *readAhead) advanceLocked(from, to readPlace, bytes int64, waited bool, began, now time.Time) *sequence {
	s, known := r.mu.places.Get(from)
	switch {
	case !known && !r.mu.places.Contains(to):
		s = &sequence{at: to, before: from, since: now, last: now}
		r.mu.places.Add(to, s)
		return nil
	case !known || s.at != from:
		return nil
	}
	r.mu.places.Remove(s.before)
	s.before, s.at = from, to
	r.mu.places.Add(to, s)
	s.distance = max(0, s.distance-bytes)
	s.got += bytes
	if waited {
		s.widen(began.Sub(s.last) < now.Sub(began)/4)
	}
	s.last = now
	s.measure(r.mu.request)
	s.window = min(max(firstWindow, s.window), max(r.shareLocked(now), 1))
	return s
}

// widen enlarges the window of a reader that had to wait. A reader that did little but wait reaches
// a window without waits sooner.
func (s *sequence) widen(waitsOnly bool) {
	s.window *= 2
	if waitsOnly {
		s.window *= 4
	}
}

// measure takes the reader's rate over the time of some requests, because what arrives together is
// used together. It narrows a window that is too large for the rate.
func (s *sequence) measure(request time.Duration) {
	took := s.last.Sub(s.since)
	if took <= 0 || took < measureOver*request {
		return
	}
	rate := float64(s.got) / took.Seconds()
	s.got, s.since = 0, s.last
	if enough := firstWindow + int64(2*rate*request.Seconds()); s.window > 2*enough {
		s.window -= s.window / 4
	}
}

// shareLocked returns how far ahead of any one reader the cache may read.
func (r *readAhead) shareLocked(now time.Time) int64 {
	if r.mu.active == 0 || now.Sub(r.mu.counted) >= countEvery {
		r.mu.counted, r.mu.active = now, 0
		for _, at := range r.mu.places.Keys() {
			if s, _ := r.mu.places.Peek(at); s.at == at && now.Sub(s.last) < activeFor && s.window > 0 {
				r.mu.active++
			}
		}
		r.mu.active = max(r.mu.active, 1)
	}
	return r.budget / int64(r.mu.active)
}
