//go:build invariants

package invariants

import (
	"sync"
	"sync/atomic"
)

// Mutex is a sync.Mutex with a rank in the order of locks.
type Mutex[R Ranked] struct {
	mu sync.Mutex
	by atomic.Uint64 // id of the goroutine that holds it; 0: none
}

// Lock waits for the lock. It panics if the goroutine holds one that [Rank] puts after it.
func (m *Mutex[R]) Lock() {
	g := goroutine()
	enter(g, m, rankOf[R](), waits)
	m.mu.Lock()
	m.by.Store(g)
}

// TryLock takes the lock if it is free, and reports whether it did. It does not check the order.
func (m *Mutex[R]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	g := goroutine()
	enter(g, m, rankOf[R](), tries)
	m.by.Store(g)
	return true
}

// Unlock releases the lock. It panics if the goroutine does not hold it.
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

// RWMutex is a sync.RWMutex with a rank in the order of locks.
type RWMutex[R Ranked] struct{ mu sync.RWMutex }

// Lock waits for the lock. It panics if the goroutine holds one that [Rank] puts after it.
func (m *RWMutex[R]) Lock() {
	enter(goroutine(), m, rankOf[R](), waits)
	m.mu.Lock()
}

// Unlock releases the lock. The goroutine that took it must call it.
func (m *RWMutex[R]) Unlock() {
	leave(goroutine(), m)
	m.mu.Unlock()
}

// RLock waits for a shared lock. It panics as Lock does.
func (m *RWMutex[R]) RLock() {
	enter(goroutine(), m, rankOf[R](), waits)
	m.mu.RLock()
}

// RUnlock releases the lock. The goroutine that took it must call it.
func (m *RWMutex[R]) RUnlock() {
	leave(goroutine(), m)
	m.mu.RUnlock()
}

// Token is a lock that a select can wait for together with other channels. Call Init before use.
type Token[R Ranked] struct {
	c  chan struct{}
	by atomic.Uint64 // id of the goroutine that took it; 0: none
}

// Init makes the token, which is free.
func (t *Token[R]) Init() { t.c = make(chan struct{}, 1) }

// Take waits for the token. It panics if the goroutine holds one that [Rank] puts after it.
func (t *Token[R]) Take() {
	g := goroutine()
	enter(g, t, rankOf[R](), waits)
	t.c <- struct{}{}
	t.by.Store(g)
}

// TakeBeside is Take for a goroutine that may hold tokens of the same rank.
func (t *Token[R]) TakeBeside() {
	g := goroutine()
	enter(g, t, rankOf[R](), waitsBeside)
	t.c <- struct{}{}
	t.by.Store(g)
}

// TryTake takes the token if it is free, and reports whether it did. It does not check the order.
func (t *Token[R]) TryTake() bool {
	select {
	case t.c <- struct{}{}:
		t.Taken()
		return true
	default:
		return false
	}
}

// Wait returns the channel on which the token is taken, by sending to it. The sender must then call
// Taken. Wait panics if the goroutine holds a lock that [Rank] puts after the token.
func (t *Token[R]) Wait() chan<- struct{} {
	check(goroutine(), t, rankOf[R]())
	return t.c
}

// Taken records that the caller has sent to the channel of Wait.
func (t *Token[R]) Taken() {
	g := goroutine()
	enter(g, t, rankOf[R](), tries)
	t.by.Store(g)
}

// Release frees the token. The caller may be another goroutine than the one that took it.
func (t *Token[R]) Release() {
	leave(t.by.Swap(0), t)
	<-t.c
}

// Sole admits one caller at a time.
type Sole struct{ present atomic.Pointer[string] }

// Enter begins the operation what and returns the function that ends it. It panics if another
// operation is in progress; id is the invariant, and of is its owner. Call it only if [Enabled].
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
