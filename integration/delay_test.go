package integration

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// distance is a way to an address on which all bytes take so long, in each direction. It returns
// where to connect.
func distance(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	at := freeAddress(t)
	relay(t, at, address, delay)
	return at
}

// relay passes connections to one address on to another, with a delay in each direction, until the
// function that it returns, or the test, cuts them all.
func relay(t *testing.T, at, address string, delay time.Duration) (cut func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	cut = func() { cancel(); running.Wait() }
	t.Cleanup(cut)
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	running.Go(func() {
		for {
			near, acceptErr := listener.Accept()
			if acceptErr != nil {
				return // closed at the end
			}
			running.Go(func() { joinAtDistance(ctx, near, address, delay) })
		}
	})
	return cut
}

// joinAtDistance passes bytes on between a connection and an address until one of both ends.
func joinAtDistance(ctx context.Context, near net.Conn, address string, delay time.Duration) {
	defer near.Close()
	far, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); passLater(ctx, far, near, delay) })
	both.Go(func() { defer cancel(); passLater(ctx, near, far, delay) })
	both.Wait()
}

// piece is some bytes, and when they arrive.
type piece struct {
	bytes []byte
	due   time.Time
}

// passLater passes bytes on in one direction. The channel bounds how much is on its way.
func passLater(ctx context.Context, to, from net.Conn, delay time.Duration) {
	way := make(chan piece, 1024)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(way)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			select {
			case way <- piece{buf[:n], time.Now().Add(delay)}:
			case <-ctx.Done():
				return
			}
		}
	})
	for p := range way {
		timer := time.NewTimer(time.Until(p.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_ = from.Close() // so that the reading ends
			continue
		}
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.Close()
		}
	}
}
