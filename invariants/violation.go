package invariants

import (
	"errors"
	"fmt"
)

// Violation is the panic value of a violated invariant.
type Violation struct { //nolint:errname // it is panicked with, and never returned
	ID     string // id of the invariant in the documentation, such as "S2"
	Of     string // its owner: a log, a lock
	Detail string // the observed state, with the values
}

// Error names the invariant, the owner and the values.
func (v *Violation) Error() string {
	return fmt.Sprintf("invariant %s is violated: %s: %s", v.ID, v.Of, v.Detail)
}

// Violated panics with a Violation. Call it only if [Enabled].
func Violated(id, of, format string, values ...any) {
	panic(&Violation{ID: id, Of: of, Detail: fmt.Sprintf(format, values...)})
}

// Rethrow panics again if the recovered value is a violation. All code that keeps a process running
// after a panic must call it.
func Rethrow(recovered any) {
	if !Enabled {
		return
	}
	var v *Violation
	if err, ok := recovered.(error); ok && errors.As(err, &v) {
		panic(v)
	}
}

// LockOrder is the id of the order of locks. Each package states its own order in its doc.go.
const LockOrder = "lock order"

// Rank is the position of a lock in the order of all locks of the process. A goroutine must not
// wait for a lock while it holds one of a higher Order, the same lock, or one of the same Order
// unless Several is set.
type Rank struct {
	// Order increases from a lock to those that may be waited for while it is held. Each package
	// has numbers of its own; storage has 200 to 299.
	Order int
	Name  string // its name in doc.go
	// Several reports whether a goroutine may hold several locks of this rank.
	Several bool
}

// Ranked is the type argument of a lock: an empty struct with a rank. No lock can be made without
// one.
type Ranked interface{ Rank() Rank }
