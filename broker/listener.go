package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Listener is one address that clients connect to.
type Listener struct {
	broker   *Broker
	name     string
	tls      *tls.Config // nil: plain TCP
	failures prometheus.Counter

	wg sync.WaitGroup // one for each connection
	mu struct {
		sync.Mutex
		open map[*connection]struct{}
	}
}

// NewListener returns a listener with the name under which the cluster knows its address. With
// secure, which may be nil, it speaks TLS only.
func (b *Broker) NewListener(name string, secure *tls.Config) *Listener {
	l := &Listener{broker: b, name: name}
	if secure != nil {
		l.tls, l.failures = secure.Clone(), b.metrics.handshakeFailures.WithLabelValues(name)
		l.tls.DynamicRecordSizingDisabled = true // clients read whole responses
	}
	l.mu.open = make(map[*connection]struct{})
	return l
}

// Serve accepts connections from ln until ctx ends. Then it takes no new requests, lets the
// accepted ones finish for at most Config.DrainTimeout, and returns after every goroutine has
// ended. It closes ln. It is called once.
func (l *Listener) Serve(ctx context.Context, ln net.Listener) error {
	conns, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	unhook := context.AfterFunc(ctx, func() { _ = ln.Close() }) // ends Accept
	defer unhook()

	err := l.accept(ctx, conns, ln)
	_ = ln.Close()
	l.stop()
	drained := make(chan struct{})
	var waiter sync.WaitGroup
	waiter.Go(func() {
		defer close(drained)
		l.wg.Wait()
	})
	timer := time.NewTimer(l.broker.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		cancel(errDrainTimeout)
	}
	waiter.Wait()
	return err
}

func (l *Listener) accept(ctx, conns context.Context, ln net.Listener) error {
	slots := l.broker.limits.slotsOf(l.name)
	for {
		nc, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on listener %s: %w", l.name, err)
			}
			l.broker.log.LogAttrs(ctx, slog.LevelWarn, "accept connection", slog.String("listener", l.name), slog.Any("error", err))
			if err = pause(ctx, acceptBackoff); err != nil {
				return nil //nolint:nilerr // the end of ctx is how Serve is asked to end
			}
			continue
		}
		c := newConnection(l.broker, nc, l)
		if !l.add(c) {
			l.broker.metrics.rejected.WithLabelValues("per_ip").Inc()
			_ = nc.Close()
			continue
		}
		select {
		// one connection of each listener waits here, further ones in the kernel
		case slots <- struct{}{}:
		case <-ctx.Done():
			l.remove(c)
			_ = nc.Close()
			return nil
		}
		l.wg.Go(func() {
			defer func() { <-slots }()
			defer l.remove(c)
			c.run(conns)
		})
	}
}

// acceptBackoff is the wait after a failed Accept: the process has no descriptors left, or the
// kernel no memory.
const acceptBackoff = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Listener) add(c *connection) bool {
	if !l.broker.limits.admit(c.host) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.open[c] = struct{}{}
	l.broker.metrics.connections.Inc()
	return true
}

func (l *Listener) remove(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.open, c)
	l.broker.limits.leave(c.host)
	l.broker.metrics.connections.Dec()
}

// stop makes every connection take no further request. No connection is added after it.
func (l *Listener) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.mu.open {
		c.stop()
	}
}
