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
	// firstWindow is how far a reader is read ahead of who has come back once, in bytes.
	firstWindow = 1 << 20
	// activeFor is how long a reader who does not come back has a share of what may be read ahead.
	activeFor = 10 * time.Second
	// measureOver is the time, in requests, over which a reader's rate is measured.
	measureOver = 4
	// countEvery is how often the readers are counted.
	countEvery = 100 * time.Millisecond
)

// readAhead recognises sequential readers without knowing who they are: one that asks for the offset
// at which a read ended is taken for the same reader. It decides how far the cache runs ahead of each:
// as many bytes as the reader uses in the time of two requests. Whoever has to wait could read faster:
// for them it is twice as far as before, up to an equal share for all.
type readAhead struct {
	budget int64 // bytes, of all readers; not positive: nothing is read ahead

	mu struct {
		sync.Mutex
		places  *simplelru.LRU[readPlace, *sequence] // where each is expected, and where it was before
		active  int
		counted time.Time
		request time.Duration // that one takes, an average
	}
}

// readPlace is where a reader is expected to go on.
type readPlace struct {
	id        metadata.TopicID
	partition int32
	offset    int64
}

// sequence is the reads of one sequential reader. It is guarded by readAhead.mu.
type sequence struct {
	at, before readPlace
	window     int64 // bytes that it is read ahead of; 0: it has not come back yet
	next       int64 // offset up to which it was read ahead of
	distance   int64 // from the reader to there, in bytes, about
	indexed    int64 // offset up to which indexes were read ahead
	lead       int64 // from next to there, in bytes, about
	got        int64 // bytes that it has used since then
	since      time.Time
	last       time.Time // that it came
}

func newReadAhead(budget int64) *readAhead {
	r := &readAhead{budget: budget}
	r.mu.places = newLRU[readPlace, *sequence](maxReadPlaces)
	return r
}

// expected returns true if a reader is expected at a place, and how many bytes one request may get
// for it; 0: one chunk.
func (r *readAhead) expected(at readPlace) (requestBytes int64, is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, is := r.mu.places.Get(at)
	if !is || r.budget <= 0 {
		return 0, is
	}
	return s.request(), true
}

// request is how many bytes one request gets for the reader: two of them are under way at least.
func (s *sequence) request() int64 { return min(max(s.window, firstWindow)/2, maxRequestBytes) }

// took notes how long a request took.
func (r *readAhead) took(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.request == 0 {
		r.mu.request = d
	}
	r.mu.request += (d - r.mu.request) / 8
}

// advanceLocked notes that a read from one place on, which began at some time and is over now, has got
// so many bytes, up to another. It returns the reads that it goes on with; nil: nothing is to be read
// ahead of it, because it is a first read, or because another reader is where it is, for whom that was
// done.
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

// widen has the reader be read further ahead of, as it had to wait. One that did little else comes
// sooner to where it waits no longer.
func (s *sequence) widen(waitsOnly bool) {
	s.window *= 2
	if waitsOnly {
		s.window *= 4
	}
}

// measure takes the reader's rate over the time of some requests, for what has come at once is used at
// once, and narrows a window that is too far for it.
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

// shareLocked is how far any reader may be read ahead of.
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
