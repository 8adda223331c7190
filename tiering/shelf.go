package tiering

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// class is how a value was used. A shelf keeps values by class, so that what is read once does not
// evict what is read again. It is the algorithm 2Q (Johnson and Shasha, VLDB 1994) with two more
// classes, for a cache that knows which readers continue: values that were fetched for a reader
// that is expected, and values that a reader has read to the end.
type class int

const (
	spent   class = iota // read to the end, once: evicted first
	once                 // used once
	popular              // used again, or requested again soon after its eviction
	unread               // fetched ahead: evicted unread it would be a wasted request
	classCount
)

const (
	// popularShare is the most of a shelf that popular values may take, in eighths. The rest is for
	// what readers are reading, and for what was fetched ahead of them.
	popularShare = 4
	// aheadShare is the most of a shelf that values fetched ahead may take, in eighths.
	aheadShare = 3
	// unreadFor is how long a value that was fetched ahead waits for its reader; after that it
	// counts as read.
	unreadFor = 30 * time.Second
	// ghostShare is how many keys of evicted values are remembered, for each value that is there.
	ghostShare = 2
)

// shelf is the content of a cache. It is not safe for concurrent use: the lock of its cache guards
// it.
type shelf[K comparable, V any] struct {
	limit   int64 // bytes
	cost    func(V) int64
	bytes   int64
	sizes   [classCount]int64
	classes [classCount]*simplelru.LRU[K, kept[V]]
	ghosts  *simplelru.LRU[K, struct{}] // keys of values that were evicted after one use
}

type kept[V any] struct {
	value V
	cost  int64
	since time.Time // when it was added
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

// use returns the value for a reader. If goesOn is set, the use continues an earlier one and does
// not count again. risen is true if the value has just become popular.
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

// spend records that a reader has read a value to its end.
func (s *shelf[K, V]) spend(key K) {
	if k, ok := s.classes[once].Peek(key); ok {
		s.move(key, k, once, spent)
	}
}

// add adds a value that is absent: for a reader that waits for it (wanted), or for one that is
// expected. risen is true if the value is popular at once.
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

// shrink evicts values until the rest fits. The newest one stays however large it is: otherwise
// every read of it would be a new request.
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

// expire moves values that were fetched ahead long ago to those that are evicted first.
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
