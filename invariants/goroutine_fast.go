//go:build invariants && (amd64 || arm64)

package invariants

// goroutine is the id of the calling goroutine: the address of its descriptor in the runtime.
// The runtime uses it again after the goroutine has ended, which by then holds no lock. The
// id in a stack's first line costs a thousand times as much.
func goroutine() uint64
