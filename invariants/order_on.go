//go:build invariants

package invariants

import (
	"slices"
	"sync"
)

// manner is how a goroutine acquires a lock.
type manner int

const (
	waits       manner = iota
	waitsBeside        // waits, and may hold others of the same rank
	tries              // does not wait, so it cannot deadlock
)

// heldLock is a lock that a goroutine holds or waits for.
type heldLock struct {
	lock any // its address
	rank Rank
}

// shard holds the locks of some goroutines. Each goroutine looks only at its own locks. A shard's
// mutex orders two goroutines only if their ids have the same remainder. With one mutex for all,
// the race detector would take every access after it for ordered and miss races.
type shard struct {
	mu   sync.Mutex
	held map[uint64][]heldLock
}

var shards [1 << 12]shard

// shardOf returns the shard of a goroutine.
func shardOf(g uint64) *shard { return &shards[g%uint64(len(shards))] }

// enter records that a goroutine holds a lock or is about to wait for it. It panics if the order
// forbids that.
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

// check panics if the goroutine must not wait for the lock now.
func check(g uint64, lock any, rank Rank) {
	s := shardOf(g)
	s.mu.Lock()
	worst := violates(s.held[g], lock, rank, waits)
	s.mu.Unlock()
	if worst != nil {
		panicOrder(rank, *worst)
	}
}

// violates returns the rank of a held lock that forbids waiting for lock, or nil if there is none.
// That is a lock of a higher rank, one of the same rank (unless several are allowed), or lock
// itself.
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

// leave records that a goroutine no longer holds a lock.
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
