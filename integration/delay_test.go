package integration

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// distance returns an address at which connections to address are delayed by delay in each
// direction.
func distance(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	at := freeAddress(t)
	relay(t, at, address, delay)
	return at
}

// relay forwards connections from one address to another, with a delay in each direction. When cut
// is called or the test ends, it closes all of them.
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

// joinAtDistance forwards bytes between a connection and an address until either side ends.
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

// piece is a number of bytes and the time when they arrive.
type piece struct {
	bytes []byte
	due   time.Time
}

// passLater forwards bytes in one direction. The channel bounds the bytes in flight.
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
			_ = from.Close() // ends the reading
			continue
		}
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.Close()
		}
	}
}
