package tiering

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A shelf keeps values by how they are used, so that what is read once does not take the room of
// what is read again. It is the algorithm 2Q (Johnson and Shasha, VLDB 1994) with two classes more,
// for a cache that knows who reads on: values that were fetched for a reader who has not come yet,
// and values that a reader has read to the end.
type class int

const (
	spent   class = iota // read to the end, once: the first to go
	once                 // used once
	popular              // used again, or asked for again soon after it had gone
	unread               // fetched ahead: going before it is read would be a request for nothing
	classCount
)

const (
	// popularShare is how much of a shelf popular values take at most, in eighths. The rest is for
	// what readers are reading, and for what was fetched ahead of them.
	popularShare = 4
	// aheadShare is how much of a shelf values may take that were fetched ahead.
	aheadShare = 3
	// unreadFor is how long a value that was fetched ahead waits for its reader; after that it is
	// like one that was read.
	unreadFor = 30 * time.Second
	// ghostShare is how many keys of values that have gone are remembered, for each value that is
	// there.
	ghostShare = 2
)

// shelf is not for concurrent use.
type shelf[K comparable, V any] struct {
	limit   int64 // bytes
	cost    func(V) int64
	bytes   int64
	sizes   [classCount]int64
	classes [classCount]*simplelru.LRU[K, kept[V]]
	ghosts  *simplelru.LRU[K, struct{}] // keys of values that have gone, and were used once
}

type kept[V any] struct {
	value V
	cost  int64
	since time.Time // when it came
}

func newShelf[K comparable, V any](limit int64, cost func(V) int64) *shelf[K, V] {
	s := &shelf[K, V]{limit: limit, cost: cost, ghosts: newLRU[K, struct{}](math.MaxInt32)}
	for c := range s.classes {
		s.classes[c] = newLRU[K, kept[V]](math.MaxInt32) // the bytes are the bound, not the number
	}
	return s
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	lru, err := simplelru.NewLRU[K, V](size, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return lru
}

// find returns the value and its class, without using it.
func (s *shelf[K, V]) find(key K) (kept[V], class, bool) {
	for c := range s.classes {
		if k, ok := s.classes[c].Peek(key); ok {
			return k, class(c), true
		}
	}
	return kept[V]{}, 0, false
}

// use returns the value for a reader. A use that goes on with an earlier one is no other use. risen
// is true if it is popular from now on.
func (s *shelf[K, V]) use(key K, goesOn bool) (value V, risen, ok bool) {
	k, c, ok := s.find(key)
	switch {
	case !ok:
		return value, false, false
	case c == unread:
		s.move(key, k, unread, once)
	case goesOn:
	case c == popular:
		s.classes[popular].Get(key)
	default:
		s.move(key, k, c, popular)
		risen = true
	}
	return k.value, risen, true
}

// spend says that a reader has read a value to its end.
func (s *shelf[K, V]) spend(key K) {
	if k, ok := s.classes[once].Peek(key); ok {
		s.move(key, k, once, spent)
	}
}

// add puts a value in that is not there: for a reader who waits for it, or for one who will come.
// risen is true if it is popular.
func (s *shelf[K, V]) add(key K, value V, wanted bool, now time.Time) (risen bool) {
	c := unread
	if wanted {
		c = once
		if s.ghosts.Remove(key) {
			c = popular
		}
	}
	k := kept[V]{value, s.cost(value), now}
	s.classes[c].Add(key, k)
	s.sizes[c] += k.cost
	s.bytes += k.cost
	s.shrink(key)
	return c == popular
}

func (s *shelf[K, V]) move(key K, k kept[V], from, to class) {
	s.classes[from].Remove(key)
	s.sizes[from] -= k.cost
	s.classes[to].Add(key, k)
	s.sizes[to] += k.cost
	if to == popular {
		s.shrink(key)
	}
}

// shrink has values go until the rest has room. The one that has just come stays however large it
// is: else every read of it would be a request, again and again.
func (s *shelf[K, V]) shrink(newest K) {
	for s.sizes[popular] > s.limit*popularShare/8 && s.classes[popular].Len() > 1 {
		key, k, _ := s.classes[popular].GetOldest()
		s.move(key, k, popular, spent)
	}
	for s.bytes > s.limit && s.dropOldest(newest) {
	}
	for s.ghosts.Len() > ghostShare*max(16, s.length()) {
		s.ghosts.RemoveOldest()
	}
}

func (s *shelf[K, V]) dropOldest(but K) bool {
	for c := range s.classes {
		key, k, ok := s.classes[c].GetOldest()
		if !ok || key == but {
			continue
		}
		s.classes[c].Remove(key)
		s.sizes[c] -= k.cost
		s.bytes -= k.cost
		if class(c) == spent || class(c) == once {
			s.ghosts.Add(key, struct{}{})
		}
		return true
	}
	return false
}

// expire has values that were fetched ahead long ago wait no longer.
func (s *shelf[K, V]) expire(now time.Time) {
	for {
		key, k, ok := s.classes[unread].GetOldest()
		if !ok || now.Sub(k.since) < unreadFor {
			return
		}
		s.move(key, k, unread, spent)
	}
}

func (s *shelf[K, V]) length() int {
	n := 0
	for c := range s.classes {
		n += s.classes[c].Len()
	}
	return n
}
