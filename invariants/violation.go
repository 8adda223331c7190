package invariants

import (
	"errors"
	"fmt"
)

// Violation is what a violated invariant panics with.
type Violation struct { //nolint:errname // it is panicked with, and never returned
	ID     string // of the invariant, as the documentation has it: "S2"
	Of     string // whose it is: a log, a lock
	Detail string // what is, with the values
}

// Error names the invariant, the owner and the values.
func (v *Violation) Error() string {
	return fmt.Sprintf("invariant %s is violated: %s: %s", v.ID, v.Of, v.Detail)
}

// Violated panics. The caller is behind [Enabled].
func Violated(id, of, format string, values ...any) {
	panic(&Violation{ID: id, Of: of, Detail: fmt.Sprintf(format, values...)})
}

// Rethrow panics with what was recovered if that is a violation. Whoever keeps a process
// running after a panic calls it.
func Rethrow(recovered any) {
	if !Enabled {
		return
	}
	var v *Violation
	if err, ok := recovered.(error); ok && errors.As(err, &v) {
		panic(v)
	}
}

// LockOrder is the id of the order of locks, which each package's doc.go has for its own.
const LockOrder = "lock order"

// Rank is the place of a lock in the order of all locks of the process.
type Rank struct {
	// Order ascends from a lock to those that are waited for under it. Each package has
	// numbers of its own: storage those from 200 to 299.
	Order int
	Name  string // as doc.go names it
	// Several says that a goroutine may hold more than one lock of this rank.
	Several bool
}

// Ranked is the type argument of a lock: an empty struct that has a rank, so that no lock can
// be made without one.
type Ranked interface{ Rank() Rank }
