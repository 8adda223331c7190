package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/trace"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

var (
	errStopped      = errors.New("listener stopped")
	errDrainTimeout = errors.New("listener stopped before the response")
	errNotSupported = errors.New("not supported")
	errRefused      = errors.New("request refused")
	errPanic        = errors.New("handler panicked")
)

// connection is one client's connection. Its reader is the goroutine that runs run; its writer is a
// second one. It ends when the client disconnects, when a request cannot be served, when a handler
// asks for it, or when the listener stops.
type connection struct {
	broker   *Broker
	nc       net.Conn // a *tls.Conn on a listener with TLS
	raw      net.Conn // the connection under nc
	in       *inbound
	host     string
	listener *Listener
	log      *slog.Logger

	queue chan *exchange // from reader to writer; the reader closes it
	// requests accepted and not yet answered, without those that the reader answers
	inFlight atomic.Int32
	software atomic.Pointer[Software]
	// the broker that fetches through this connection; nil: none
	loader atomic.Pointer[metadata.Member]
	// hurry holds one token after another request has arrived while one is unanswered. Only a
	// follower's fetch reads it.
	hurry chan struct{}
}

// exchange is one request on its way through the connection.
type exchange struct {
	api    *api
	req    *Request
	frame  *protocol.Frame
	body   kmsg.Request
	answer stage2
	times  times
	span   trace.Span // nil: not traced
}

func newConnection(b *Broker, raw net.Conn, listener *Listener) *connection {
	nc := raw
	if listener.tls != nil {
		nc = tls.Server(raw, listener.tls)
	}
	host := raw.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	c := &connection{
		broker: b, nc: nc, raw: raw, in: &inbound{Conn: nc}, host: host, listener: listener,
		log:   b.log.With(slog.String("client", nc.RemoteAddr().String())),
		queue: make(chan *exchange, max(b.cfg.MaxInFlight-1, 0)),
		hurry: make(chan struct{}, 1),
	}
	c.software.Store(&Software{})
	return c
}

// run serves the connection until it ends, and closes it. Canceling ctx ends it at once. stop ends
// it after all accepted requests have been answered.
func (c *connection) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// also ends reads and writes in progress
	unhook := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer unhook()

	if err := c.handshake(ctx); err != nil {
		_ = c.raw.Close() // TLS has sent an alert with the reason, if it could
		close(c.queue)
		c.ended(ctx, err)
		return
	}
	var writer sync.WaitGroup
	writer.Go(func() { c.write(ctx, cancel) })
	err := c.read(ctx)
	close(c.queue)
	if !polite(err) {
		cancel(err)
	}
	writer.Wait()
	_ = c.nc.Close()
	c.ended(ctx, err)
}

// handshake does the TLS handshake on a listener with TLS. TLS bounds the size of what the client
// sends before it ends; HandshakeTimeout bounds the time.
func (c *connection) handshake(ctx context.Context) error {
	secure, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.broker.cfg.HandshakeTimeout)
	defer cancel()
	err := secure.HandshakeContext(ctx)
	switch {
	case err == nil:
		return nil
	// a timeout before the stop is a failure
	case c.in.stopped() && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errStopped
	}
	c.listener.failures.Inc()
	return fmt.Errorf("TLS handshake: %w", err)
}

// polite reports whether accepted requests are still answered after the reader has ended with err:
// yes after a request that cannot be served, on an idle connection, and when the listener stops; no
// when the client has disconnected.
func polite(err error) bool {
	for _, e := range []error{errStopped, errNotSupported, protocol.ErrMalformed, protocol.ErrFrameSize, protocol.ErrIdle} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ended logs the reason at debug level, because a client's mistakes are not news. guard has already
// logged panics. The end of a follower's connection is reported to Suspect, unless this broker
// stops.
func (c *connection) ended(ctx context.Context, err error) {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	switch {
	case errors.Is(err, protocol.ErrMalformed), errors.Is(err, protocol.ErrFrameSize), errors.Is(err, errNotSupported):
		c.broker.metrics.badRequests.Inc()
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "connection closed", slog.Any("cause", err))
	if follower := c.loader.Load(); follower != nil && c.broker.suspect != nil && !c.in.stopped() {
		c.broker.suspect(*follower, err)
	}
}

// stop makes the reader take no further request.
func (c *connection) stop() { c.in.stop() }

// read takes requests until the connection or the listener ends. It returns the reason, never nil.
func (c *connection) read(ctx context.Context) error {
	cfg := &c.broker.cfg
	frames := protocol.NewFrameReader(c.in, c.broker.budget, protocol.FrameOptions{
		MaxBytes: cfg.MaxRequestBytes, Idle: cfg.IdleTimeout, Progress: cfg.ReadTimeout,
	})
	for {
		frame, err := frames.Next(ctx)
		switch {
		case err == nil:
		case c.in.stopped():
			return errStopped
		case errors.Is(err, protocol.ErrIdle) && c.inFlight.Load() > 0:
			continue // the client waits for this broker
		default:
			return err
		}
		x := &exchange{frame: frame, times: times{read: time.Now()}}
		if err = c.guard(ctx, func() error { return c.accept(ctx, x) }); err != nil {
			x.done()
			return err
		}
		x.times.accepted = time.Since(x.times.read)
		x.api.metrics().requestBytes.Add(float64(len(frame.Bytes()) + 4))
		if err = c.pass(ctx, x); err != nil {
			return err
		}
	}
}

// pass answers an accepted request at once if the answer needs no waiting and no earlier request is
// unanswered. Otherwise it queues the request for the writer.
func (c *connection) pass(ctx context.Context, x *exchange) error {
	// While inFlight is 0 the writer is idle, so the reader may write.
	if x.answer.ready && c.inFlight.Load() == 0 {
		defer x.done()
		return c.guard(ctx, func() error { return c.respond(ctx, x) })
	}
	if c.inFlight.Add(1) > 1 {
		// A follower that sends a request before the answer to its last one has something new to
		// ask for. Other handlers do not read the token.
		select {
		case c.hurry <- struct{}{}:
		default:
		}
	}
	select {
	case c.queue <- x:
		return nil
	case <-ctx.Done():
		x.done()
		return context.Cause(ctx)
	}
}

// accept parses the request and runs the part of its handler that belongs on the reader.
func (c *connection) accept(ctx context.Context, x *exchange) error {
	header, body, err := protocol.ParseRequestHeader(x.frame.Bytes())
	x.req = &Request{
		RequestHeader: header, Remote: c.nc.RemoteAddr(), Host: c.host, Listener: c.listener.name, conn: c,
	}
	if header.Key == apiVersionsKey && len(x.frame.Bytes()) >= 8 && !c.broker.apis[apiVersionsKey].serves(header.Version) {
		x.api = c.broker.apis[apiVersionsKey]
		x.answer.respond = func(context.Context) kmsg.Response { return c.broker.apiVersionsUnsupported() }
		return nil
	}
	if err != nil {
		return err
	}
	a, known := c.broker.apis[header.Key]
	if !known || header.Version > a.max || header.Version < a.advertisedMin {
		return fmt.Errorf("%s v%d (key %d): %w", protocol.APIName(header.Key), header.Version, header.Key, errNotSupported)
	}
	x.api = a
	ctx = c.traced(ctx, x)
	elements, err := protocol.CheckBody(header.Key, header.Version, body)
	if err != nil {
		return err
	}
	x.frame.Charge(elements * elementBytes)
	x.body = a.newRequest()
	x.body.SetVersion(header.Version)
	if err = x.body.ReadFrom(body); err != nil {
		return fmt.Errorf("decode %s v%d: %w: %w", a.name(), header.Version, protocol.ErrMalformed, err)
	}
	switch {
	case !a.serves(header.Version):
		x.answer.respond = func(context.Context) kmsg.Response { return a.refuse(x.body) }
	case a.accept != nil:
		x.answer = a.accept(c.broker, ctx, x.req, x.body)
	default:
		x.answer.respond = func(ctx context.Context) kmsg.Response { return a.handle(c.broker, ctx, x.req, x.body) }
	}
	return nil
}

// elementBytes is the approximate cost of one decoded array element beyond its bytes in the frame.
const elementBytes = 64

// write answers requests in order. After a failure it only releases what the remaining ones hold.
func (c *connection) write(ctx context.Context, cancel context.CancelCauseFunc) {
	failed := false
	for x := range c.queue {
		if !failed {
			err := c.guard(ctx, func() error { return c.respond(ctx, x) })
			if err != nil {
				failed = true
				cancel(err)
			}
		}
		x.done()
		c.inFlight.Add(-1)
	}
}

func (c *connection) respond(ctx context.Context, x *exchange) (err error) {
	if x.span != nil {
		ctx = trace.ContextWithSpan(ctx, x.span)
		defer func() { spanFailed(x.span, err) }()
	}
	resp := x.answer.respond(ctx)
	x.times.answered = time.Since(x.times.read)
	if r, ok := resp.(releasedResponse); ok {
		defer r.Release()
	}
	if reason := x.req.abort.Load(); reason != nil {
		return fmt.Errorf("%s: %w: %s", x.api.name(), errRefused, *reason)
	}
	if resp == nil {
		return nil
	}
	if err = context.Cause(ctx); err != nil {
		return err // the client is gone or the connection is closing
	}
	if err = c.send(x, resp); err != nil {
		return fmt.Errorf("respond to %s: %w", x.api.name(), err)
	}
	x.api.metrics().observe(x.times)
	return nil
}

func (c *connection) send(x *exchange, resp kmsg.Response) error {
	if x.body != nil {
		resp.SetVersion(x.req.Version)
	}
	w := newResponseWriter()
	defer w.free()
	w.begin(x.req.RequestHeader, resp.IsFlexible())
	if err := w.body(resp); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.broker.cfg.writeDeadline(w.size))); err != nil {
		return err
	}
	if err := w.send(c.nc); err != nil {
		return err
	}
	x.api.metrics().responseBytes.Add(float64(w.size))
	return nil
}

// guard is the one place where a panic in a request's handling is recovered: it ends this
// connection. In a build with the tag invariants the panic of a violated invariant ends the process
// instead.
func (c *connection) guard(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.broker.metrics.panics.Inc()
			c.log.LogAttrs(ctx, slog.LevelError, "request handler panicked, closing its connection",
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			invariants.Rethrow(p)
			err = errPanic
		}
	}()
	return f()
}

// done ends the request's span and releases its frame.
func (x *exchange) done() {
	if x.span != nil {
		x.span.End()
	}
	if x.api != nil && x.api.keepsFrame {
		x.frame.Discard()
		return
	}
	x.frame.Release()
}

// inbound is the reading half of a connection. stop can end it between two reads or during one.
type inbound struct {
	net.Conn
	mu struct {
		sync.Mutex
		stopped bool
	}
}

func (in *inbound) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.mu.stopped = true
	_ = in.Conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

func (in *inbound) stopped() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.mu.stopped
}

// SetReadDeadline sets the deadline, unless stop has set one, which stays.
func (in *inbound) SetReadDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.stopped {
		return os.ErrDeadlineExceeded
	}
	return in.Conn.SetReadDeadline(t)
}
