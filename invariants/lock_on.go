//go:build invariants

package invariants

import (
	"sync"
	"sync/atomic"
)

// Mutex is a sync.Mutex with a place in the order of locks.
type Mutex[R Ranked] struct {
	mu sync.Mutex
	by atomic.Uint64 // the goroutine that holds it; 0: none
}

// Lock waits for the lock. It panics if the goroutine holds a lock that comes after it.
func (m *Mutex[R]) Lock() {
	g := goroutine()
	enter(g, m, rankOf[R](), waits)
	m.mu.Lock()
	m.by.Store(g)
}

// TryLock takes the lock if nobody has it, and reports whether it did.
func (m *Mutex[R]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	g := goroutine()
	enter(g, m, rankOf[R](), tries)
	m.by.Store(g)
	return true
}

// Unlock gives the lock back. It panics if another goroutine holds it.
func (m *Mutex[R]) Unlock() {
	m.AssertHeld()
	leave(m.by.Swap(0), m)
	m.mu.Unlock()
}

// AssertHeld panics if the calling goroutine does not hold the lock.
func (m *Mutex[R]) AssertHeld() {
	switch m.by.Load() {
	case goroutine():
	case 0:
		Violated(LockOrder, rankOf[R]().Name, "the goroutine has to hold it, and it is free")
	default:
		Violated(LockOrder, rankOf[R]().Name, "the goroutine has to hold it, and another one does")
	}
}

// RWMutex is a sync.RWMutex with a place in the order of locks.
type RWMutex[R Ranked] struct{ mu sync.RWMutex }

// Lock waits for the lock. It panics if the goroutine holds a lock that comes after it.
func (m *RWMutex[R]) Lock() {
	enter(goroutine(), m, rankOf[R](), waits)
	m.mu.Lock()
}

// Unlock gives the lock back, in the goroutine that took it.
func (m *RWMutex[R]) Unlock() {
	leave(goroutine(), m)
	m.mu.Unlock()
}

// RLock waits for the lock beside other readers. It panics as Lock does.
func (m *RWMutex[R]) RLock() {
	enter(goroutine(), m, rankOf[R](), waits)
	m.mu.RLock()
}

// RUnlock gives the lock back, in the goroutine that took it.
func (m *RWMutex[R]) RUnlock() {
	leave(goroutine(), m)
	m.mu.RUnlock()
}

// Token is a lock that can be waited for together with other channels. It is of no use
// before Init.
type Token[R Ranked] struct {
	c  chan struct{}
	by atomic.Uint64 // the goroutine that took it
}

// Init makes the token, which nobody has.
func (t *Token[R]) Init() { t.c = make(chan struct{}, 1) }

// Take waits for the token. It panics if the goroutine holds a lock that comes after it.
func (t *Token[R]) Take() {
	g := goroutine()
	enter(g, t, rankOf[R](), waits)
	t.c <- struct{}{}
	t.by.Store(g)
}

// TakeBeside is Take for a goroutine that may have tokens of the same rank.
func (t *Token[R]) TakeBeside() {
	g := goroutine()
	enter(g, t, rankOf[R](), waitsBeside)
	t.c <- struct{}{}
	t.by.Store(g)
}

// TryTake takes the token if nobody has it, and reports whether it did.
func (t *Token[R]) TryTake() bool {
	select {
	case t.c <- struct{}{}:
		t.Taken()
		return true
	default:
		return false
	}
}

// Wait is the channel on which the token is taken, by sending to it. The sender calls Taken.
// It panics if the goroutine holds a lock that comes after the token.
func (t *Token[R]) Wait() chan<- struct{} {
	check(goroutine(), t, rankOf[R]())
	return t.c
}

// Taken notes that the caller has sent to what Wait returned.
func (t *Token[R]) Taken() {
	g := goroutine()
	enter(g, t, rankOf[R](), tries)
	t.by.Store(g)
}

// Release gives the token back, also one that another goroutine has taken.
func (t *Token[R]) Release() {
	leave(t.by.Swap(0), t)
	<-t.c
}

// Sole admits one caller at a time.
type Sole struct{ present atomic.Pointer[string] }

// Enter begins what and returns what ends it. It panics if another call is under way: of is
// whose invariant id that is. The caller is behind [Enabled].
func (s *Sole) Enter(id, of, what string) (leave func()) {
	if !s.present.CompareAndSwap(nil, &what) {
		other := "another call"
		if p := s.present.Load(); p != nil {
			other = *p
		}
		Violated(id, of, "%s begins while %s is under way", what, other)
	}
	return func() { s.present.Store(nil) }
}
