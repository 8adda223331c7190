package porttest

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// TestNoPortIsGivenTwice takes more ports than a block has, concurrently.
func TestNoPortIsGivenTwice(t *testing.T) {
	const n = 3
	got := make([]string, block)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() { got[i] = Address(t, n) })
	}
	all.Wait()
	seen := map[int]bool{}
	for _, a := range got {
		_, text, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if seen[port+i] || port+i < first || port+i > last || (port+i-first)%block == 0 {
				t.Errorf("port %d was given twice, or is not to be given", port+i)
			}
			seen[port+i] = true
		}
	}
}

// TestPortInUseIsNotGiven occupies a port among the next ones: it must be skipped.
func TestPortInUseIsNotGiven(t *testing.T) {
	for range 5 {
		a := Address(t, 1)
		host, text, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		next := net.JoinHostPort(host, strconv.Itoa(port+2))
		l, err := net.Listen("tcp", next)
		if err != nil {
			continue // the block ends here, or the port is taken
		}
		for range 2 {
			if got := Address(t, 2); got == next || got == net.JoinHostPort(host, strconv.Itoa(port+1)) {
				t.Errorf("%s is in use, and %s was given", next, got)
			}
		}
		_ = l.Close()
	}
}

// TestBlockOfAnotherProcessIsLeft occupies the next block as another process would: it must be
// skipped.
func TestBlockOfAnotherProcessIsLeft(t *testing.T) {
	_ = Address(t, 1)
	taken.Lock()
	theirs := (taken.current + 1) % count
	taken.Unlock()
	l, err := net.Listen("tcp", address(first+theirs*block))
	if err == nil { // otherwise another process holds it already
		defer l.Close()
	}
	for range 2 * block {
		a := Address(t, 1)
		_, text, _ := net.SplitHostPort(a)
		if port, _ := strconv.Atoi(text); (port-first)/block == theirs {
			t.Fatalf("%s is another process'", a)
		}
	}
}
