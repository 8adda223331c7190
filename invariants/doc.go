// Package invariants holds the assertions that tests run with and released binaries
// do not have. They are on in a build with the tag "invariants":
//
//	go test -race -tags invariants ./storage
//
// Without the tag [Enabled] is a constant false, so that the compiler leaves out what is
// behind it, a [Mutex] is a sync.Mutex, a [Token] is a channel, and a [Sole] has no size.
//
// With it, a violated invariant panics with a [Violation], which names the invariant by its
// id in the documentation of the package that promises it. Nobody may recover from one (see
// [Rethrow]): the process ends before it writes on the strength of a state that cannot be.
//
// # What asserts what
//
//   - A [Mutex], an [RWMutex] and a [Token] have a [Rank]. A goroutine that waits for one
//     while it holds one of a higher or the same rank panics, even if no other goroutine is
//     there to deadlock with. TryLock and TryTake do not wait, and are not asked.
//   - A [Sole] admits one caller at a time, and panics when there is a second one.
//   - All else is asserted by functions of the package that owns the state, as
//     storage/assert.go has them. They look at memory only: an assertion that read a disk
//     would change what the tests of its faults see.
//
// An assertion has to hold whenever it is asked: where readers take no lock, the writer asks
// while it holds its own.
package invariants
