//go:build invariants && !amd64 && !arm64

package invariants

// goroutine is the id of the calling goroutine, which no other one ever has.
func goroutine() uint64 { return printedID() }
