// Package invariants holds assertions that are on in tests and absent from released binaries. They
// are on in a build with the tag "invariants":
//
//	go test -race -tags invariants ./storage
//
// Without the tag, [Enabled] is a constant false, so the compiler removes the code that it guards.
// A [Mutex] is then a sync.Mutex, a [Token] is a channel, and a [Sole] has no size.
//
// With the tag, a violated invariant panics with a [Violation]. It names the invariant by its id in
// the documentation of the package that promises it. No code may recover from it (see [Rethrow]):
// the process ends before it writes anything based on an impossible state.
//
// # What asserts what
//
//   - A [Mutex], an [RWMutex] and a [Token] have a [Rank]. A goroutine panics if it waits for one
//     while it holds one of the same or a higher rank, even if no other goroutine is there to
//     deadlock with. TryLock and TryTake do not wait, so they are not checked.
//   - A [Sole] admits one caller at a time, and panics on a second one.
//   - Everything else is asserted by functions of the package that owns the state, as in
//     storage/assert.go. They look only at memory: an assertion that read a disk would change what
//     the tests of disk faults observe.
//
// An assertion must hold whenever it is evaluated. Where readers take no lock, the writer therefore
// asserts while it holds its own lock.
package invariants
