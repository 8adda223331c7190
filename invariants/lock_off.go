//go:build !invariants

package invariants

import "sync"

// Mutex is a sync.Mutex with a rank in the order of locks.
type Mutex[R Ranked] struct{ sync.Mutex }

// AssertHeld panics if the calling goroutine does not hold the lock. In this build it does nothing.
func (*Mutex[R]) AssertHeld() {}

// RWMutex is a sync.RWMutex with a rank in the order of locks.
type RWMutex[R Ranked] struct{ sync.RWMutex }

// Token is a lock that a select can wait for together with other channels. Call Init before use.
type Token[R Ranked] struct{ c chan struct{} }

// Init makes the token, which is free.
func (t *Token[R]) Init() { t.c = make(chan struct{}, 1) }

// Take waits for the token.
func (t *Token[R]) Take() { t.c <- struct{}{} }

// TakeBeside is Take for a goroutine that may hold tokens of the same rank.
func (t *Token[R]) TakeBeside() { t.c <- struct{}{} }

// TryTake takes the token if it is free, and reports whether it did.
func (t *Token[R]) TryTake() bool {
	select {
	case t.c <- struct{}{}:
		return true
	default:
		return false
	}
}

// Wait returns the channel on which the token is taken, by sending to it. The sender must then call
// Taken.
func (t *Token[R]) Wait() chan<- struct{} { return t.c }

// Taken records that the caller has sent to the channel of Wait.
func (t *Token[R]) Taken() {}

// Release frees the token. The caller may be another goroutine than the one that took it.
func (t *Token[R]) Release() { <-t.c }

// Sole admits one caller at a time.
type Sole struct{}

// Enter begins the operation what and returns the function that ends it. It panics if another
// operation is in progress; id is the invariant, and of is its owner. Call it only if [Enabled]. In
// this build it does nothing.
func (*Sole) Enter(_, _, _ string) (leave func()) { return func() {} }
