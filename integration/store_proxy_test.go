package integration

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// storeProxy is a TCP proxy in front of an object store. Through it a test makes the store
// unreachable and reachable again, always at the same address.
type storeProxy struct {
	t       *testing.T
	address string // of the proxy
	target  string // of the store
	stop    context.CancelFunc
	running sync.WaitGroup
}

// startStoreProxy starts a proxy that forwards everything to the endpoint of a store.
func startStoreProxy(t *testing.T, endpoint string) *storeProxy {
	t.Helper()
	store, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &storeProxy{t: t, address: freeAddress(t), target: store.Host, stop: func() {}}
	t.Cleanup(p.refuse)
	p.pass()
	return p
}

// pass makes the store reachable.
func (p *storeProxy) pass() {
	p.t.Helper()
	p.listen(p.forward)
}

// refuse stops listening: new connections are refused, and open ones are reset.
func (p *storeProxy) refuse() {
	p.stop()
	p.running.Wait()
}

// swallow accepts connections and never answers, like a firewall that drops all packets.
func (p *storeProxy) swallow() {
	p.t.Helper()
	p.listen(func(ctx context.Context, _ net.Conn) { <-ctx.Done() })
}

// listen ends the previous behavior and all its connections. It passes each new connection to
// handle.
func (p *storeProxy) listen(handle func(ctx context.Context, accepted net.Conn)) {
	p.t.Helper()
	p.refuse()
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	p.stop = cancel
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	p.running.Go(func() {
		for {
			accepted, acceptErr := listener.Accept()
			if acceptErr != nil {
				return // closed
			}
			p.running.Go(func() {
				defer accepted.Close()
				handle(ctx, accepted)
			})
		}
	})
}

// forward joins a connection to the store until either end closes it, or ctx ends.
func (p *storeProxy) forward(ctx context.Context, accepted net.Conn) {
	store, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _, _ = accepted.Close(), store.Close() })
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); _, _ = io.Copy(store, accepted) })
	both.Go(func() { defer cancel(); _, _ = io.Copy(accepted, store) })
	both.Wait()
}
