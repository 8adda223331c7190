// Package porttest hands out loopback ports to tests that must name an address before anything
// listens on it: members of a cluster that name each other, or a server that returns to its
// address.
//
// No two tests get the same port. A process reserves a block of ports, for as long as it runs, by
// listening on the block's first port. It takes ports from one block after another, and reuses its
// blocks only after it has tried all of them. The ports are below the range that systems use for
// outgoing connections, so no such connection takes the port of a server that is briefly down.
package porttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports that are handed out: blocks of equal size, from first to last.
const (
	first = 10_000
	last  = 31_999
	block = 100
	count = (last - first + 1) / block
)

// taken is the state of this process.
var taken struct {
	sync.Mutex
	held    map[int]net.Listener // listeners by block; they end with the process
	current int                  // the block of the next port
	next    int                  // index of the next port in that block
}

// Address returns a loopback HOST:PORT on which nothing listens. The n-1 ports after it are free
// too.
func Address(t testing.TB, n int) string {
	t.Helper()
	taken.Lock()
	defer taken.Unlock()
	for range last - first {
		if err := advance(n); err != nil {
			t.Fatal(err)
		}
		port := first + taken.current*block + taken.next
		taken.next += n
		if free(port, n) {
			return address(port)
		}
	}
	t.Fatalf("no %d ports in a row are free", n)
	return ""
}

// advance makes sure that the current block has n more ports. It moves to another block if needed.
func advance(n int) error {
	if n >= block {
		return fmt.Errorf("%d ports in a row are more than a block of %d has", n, block)
	}
	if taken.held == nil {
		taken.held = map[int]net.Listener{}
		taken.current, taken.next = rand.IntN(count), block
	}
	for range count {
		if taken.next+n <= block {
			return nil
		}
		taken.current = (taken.current + 1) % count
		if hold(taken.current) {
			taken.next = 1
		}
	}
	return fmt.Errorf("other processes have all %d blocks of ports", count)
}

// hold reserves a block for this process. It returns false if another process has it.
func hold(b int) bool {
	if taken.held[b] != nil {
		return true
	}
	l, err := listen(first + b*block)
	if err != nil {
		return false
	}
	taken.held[b] = l
	return true
}

// free reports whether nothing listens on any of n consecutive ports.
func free(port, n int) bool {
	for i := range n {
		l, err := listen(port + i)
		if err != nil {
			return false
		}
		_ = l.Close() // it was only a probe
	}
	return true
}

// listen uses no test's context: a block belongs to the process.
func listen(port int) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address(port))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
