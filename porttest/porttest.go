// Package porttest hands out loopback ports to tests that must name an address before anything
// listens there: members of a cluster that name each other, a server that comes back where it was.
//
// No two tests get the same port. A process takes a block of ports, for as long as it runs, by
// listening on the block's first one; it walks through its blocks and begins again only after all
// of them. The ports are below those that systems give to outgoing connections, so that none of
// these takes the port of a server that is away for a moment.
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

// The ports that are handed out: blocks of a size, from the first one up to the last one.
const (
	first = 10_000
	last  = 31_999
	block = 100
	count = (last - first + 1) / block
)

// taken is what this process has.
var taken struct {
	sync.Mutex
	held    map[int]net.Listener // by the block; they end with the process
	current int                  // the block that the next port is of
	next    int                  // within the block
}

// Address is a loopback HOST:PORT where nothing listens, nor at the n-1 ports after it.
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

// advance has the current block have n more ports, which may be another block.
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

// hold takes a block for this process, or says that another one has it.
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

// free reports whether nothing listens at n ports in a row.
func free(port, n int) bool {
	for i := range n {
		l, err := listen(port + i)
		if err != nil {
			return false
		}
		_ = l.Close() // it was for the question alone
	}
	return true
}

// listen belongs to no test: a block is the process'.
func listen(port int) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address(port))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
