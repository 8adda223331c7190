package broker

import (
	"cmp"
	"container/list"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// sessionEvictionAge protects a young session from eviction, and is the time after which an unused
// one may be evicted (Kafka's constant).
const sessionEvictionAge = 2 * time.Minute

// maxSessionPartitions bounds the partitions of all sessions together: about a quarter of a GiB.
// Kafka has no such bound.
const maxSessionPartitions = 1 << 20

// fetchSessions is the cache of sessions. Lock order: a session's lock is never held together with
// the cache's.
type fetchSessions struct {
	slots         int // max.incremental.fetch.session.cache.slots
	maxPartitions int
	now           func() time.Time

	mu struct {
		sync.Mutex
		byID       map[int32]*fetchSession
		used       list.List // *fetchSession, least recently used first
		partitions int
	}
}

func newFetchSessions(slots int, now func() time.Time) *fetchSessions {
	s := &fetchSessions{slots: slots, maxPartitions: maxSessionPartitions, now: now}
	s.mu.byID = map[int32]*fetchSession{}
	return s
}

// register publishes the size of the cache.
func (s *fetchSessions) register(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_fetch_sessions_count", Help: "Incremental fetch sessions that are remembered.",
	}, func() float64 { n, _ := s.size(); return float64(n) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_fetch_session_partitions_count", Help: "Partitions in all incremental fetch sessions.",
	}, func() float64 { _, n := s.size(); return float64(n) })
}

// size returns the number of sessions and of the partitions in them.
func (s *fetchSessions) size() (sessions, partitions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.byID), s.mu.partitions
}

// open makes a session of a full fetch, or returns noSession if there is no room.
func (s *fetchSessions) open(c *fetchContext, news []fetchNews) int32 {
	f := &fetchSession{usesTopicIDs: c.usesIDs, created: s.now()}
	f.mu.epoch = firstEpoch
	f.mu.parts = make(map[fetchKey]*list.Element, len(c.targets))
	f.mu.order.Init()
	for i, t := range c.targets {
		if _, twice := f.mu.parts[t.fetchKey]; twice {
			continue
		}
		p := &sessionPartition{fetchTarget: t}
		p.hasNews(news[i])
		f.addLocked(p)
	}
	n := f.mu.order.Len()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots <= 0 {
		return noSession
	}
	for len(s.mu.byID) >= s.slots || s.mu.partitions+n > s.maxPartitions {
		if !s.evictLocked(n) {
			return noSession
		}
	}
	for f.id == noSession || s.mu.byID[f.id] != nil {
		f.id = 1 + rand.Int32N(math.MaxInt32-1)
	}
	f.lastUsed, f.counted = f.created, n
	f.recent = s.mu.used.PushBack(f)
	s.mu.byID[f.id] = f
	s.mu.partitions += n
	return f.id
}

// evictLocked makes room for a session of n partitions. It evicts a session that has not been used
// for sessionEvictionAge, or else the smallest session older than that, if it is smaller than n.
func (s *fetchSessions) evictLocked(n int) bool {
	now := s.now()
	oldest := s.mu.used.Front()
	if oldest == nil {
		return false
	}
	if f := oldest.Value.(*fetchSession); now.Sub(f.lastUsed) > sessionEvictionAge {
		s.removeLocked(f)
		return true
	}
	var least *fetchSession
	for _, f := range s.mu.byID {
		if now.Sub(f.created) <= sessionEvictionAge {
			continue
		}
		if least == nil || cmp.Or(cmp.Compare(f.counted, least.counted), cmp.Compare(f.id, least.id)) < 0 {
			least = f
		}
	}
	if least == nil || least.counted >= n {
		return false
	}
	s.removeLocked(least)
	return true
}

func (s *fetchSessions) find(id int32) *fetchSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.byID[id]
}

// touch notes that a session is in use and how large it is. If all sessions together have become
// too large, it removes the session and returns false.
func (s *fetchSessions) touch(f *fetchSession, partitions int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.byID[f.id] != f {
		return true // evicted since: this fetch is served, the next one gets the error
	}
	s.mu.partitions += partitions - f.counted
	f.counted = partitions
	if s.mu.partitions > s.maxPartitions {
		s.removeLocked(f)
		return false
	}
	f.lastUsed = s.now()
	s.mu.used.MoveToBack(f.recent)
	return true
}

func (s *fetchSessions) remove(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.mu.byID[id]; ok {
		s.removeLocked(f)
	}
}

func (s *fetchSessions) removeLocked(f *fetchSession) {
	delete(s.mu.byID, f.id)
	s.mu.used.Remove(f.recent)
	s.mu.partitions -= f.counted
}
