//go:build invariants && !amd64 && !arm64

package invariants

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine is the id of the calling goroutine, which no other one ever has. The runtime
// tells it in the first line of a stack only: "goroutine 18 [running]:".
func goroutine() uint64 {
	var buf [64]byte
	line := buf[len("goroutine "):runtime.Stack(buf[:], false)]
	id, err := strconv.ParseUint(string(line[:bytes.IndexByte(line, ' ')]), 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}
