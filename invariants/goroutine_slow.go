//go:build invariants && !amd64 && !arm64

package invariants

// goroutine returns the id of the calling goroutine. Ids are never reused.
func goroutine() uint64 { return printedID() }
