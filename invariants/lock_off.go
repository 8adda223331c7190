//go:build !invariants

package invariants

import "sync"

// Mutex is a sync.Mutex with a place in the order of locks.
type Mutex[R Ranked] struct{ sync.Mutex }

// AssertHeld panics if the calling goroutine does not hold the lock.
func (*Mutex[R]) AssertHeld() {}

// RWMutex is a sync.RWMutex with a place in the order of locks.
type RWMutex[R Ranked] struct{ sync.RWMutex }

// Token is a lock that can be waited for together with other channels. It is of no use
// before Init.
type Token[R Ranked] struct{ c chan struct{} }

// Init makes the token, which nobody has.
func (t *Token[R]) Init() { t.c = make(chan struct{}, 1) }

// Take waits for the token.
func (t *Token[R]) Take() { t.c <- struct{}{} }

// TakeBeside is Take for a goroutine that may have tokens of the same rank.
func (t *Token[R]) TakeBeside() { t.c <- struct{}{} }

// TryTake takes the token if nobody has it, and reports whether it did.
func (t *Token[R]) TryTake() bool {
	select {
	case t.c <- struct{}{}:
		return true
	default:
		return false
	}
}

// Wait is the channel on which the token is taken, by sending to it. The sender calls Taken.
func (t *Token[R]) Wait() chan<- struct{} { return t.c }

// Taken notes that the caller has sent to what Wait returned.
func (t *Token[R]) Taken() {}

// Release gives the token back, also one that another goroutine has taken.
func (t *Token[R]) Release() { <-t.c }

// Sole admits one caller at a time.
type Sole struct{}

// Enter begins what and returns what ends it. It panics if another call is under way: of is
// whose invariant id that is. The caller is behind [Enabled].
func (*Sole) Enter(_, _, _ string) (leave func()) { return func() {} }
