//go:build invariants

package invariants

import (
	"slices"
	"sync"
)

// manner is how a goroutine comes by a lock.
type manner int

const (
	waits       manner = iota
	waitsBeside        // for one of several of the same rank
	tries              // and does not wait, so that it cannot deadlock
)

// heldLock is a lock that a goroutine holds or waits for.
type heldLock struct {
	lock any // its address
	rank Rank
}

// shard has the locks of some goroutines. Each goroutine looks at its own only, so that a
// shard's lock orders two of them only if their ids have the same remainder: were it one lock
// for all, the race detector would take every access behind it for ordered.
type shard struct {
	mu   sync.Mutex
	held map[uint64][]heldLock
}

var shards [1 << 12]shard

// shardOf is the shard that has a goroutine.
func shardOf(g uint64) *shard { return &shards[g%uint64(len(shards))] }

// enter notes that a goroutine holds a lock, or is about to wait for it, and panics if the
// order forbids that.
func enter(g uint64, lock any, rank Rank, how manner) {
	s := shardOf(g)
	s.mu.Lock()
	before := s.held[g]
	if worst := violates(before, lock, rank, how); worst != nil {
		s.mu.Unlock()
		panicOrder(rank, *worst)
	}
	if s.held == nil {
		s.held = map[uint64][]heldLock{}
	}
	s.held[g] = append(before, heldLock{lock, rank})
	s.mu.Unlock()
}

// check panics if the goroutine may not wait for the lock.
func check(g uint64, lock any, rank Rank) {
	s := shardOf(g)
	s.mu.Lock()
	worst := violates(s.held[g], lock, rank, waits)
	s.mu.Unlock()
	if worst != nil {
		panicOrder(rank, *worst)
	}
}

// violates finds a held lock that forbids to wait for another one; nil if there is none.
func violates(held []heldLock, lock any, rank Rank, how manner) *Rank {
	if how == tries {
		return nil
	}
	beside := rank.Several || how == waitsBeside
	for i := range held {
		h := &held[i]
		if h.rank.Order > rank.Order || (h.rank.Order == rank.Order && !beside) || h.lock == lock {
			return &h.rank
		}
	}
	return nil
}

func panicOrder(wanted, held Rank) {
	Violated(LockOrder, wanted.Name, "it is waited for (rank %d) while %s is held (rank %d)", wanted.Order, held.Name, held.Order)
}

// leave notes that a goroutine holds a lock no more.
func leave(g uint64, lock any) {
	s := shardOf(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held[g]
	for i, h := range slices.Backward(held) {
		if h.lock != lock {
			continue
		}
		if len(held) == 1 {
			delete(s.held, g)
			return
		}
		s.held[g] = append(held[:i], held[i+1:]...)
		return
	}
	Violated(LockOrder, "unlock", "the goroutine does not hold the lock that it gives back")
}

func rankOf[R Ranked]() Rank {
	var r R
	return r.Rank()
}
