package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// still is a cluster without changes.
type still struct{ image metadata.Image }

func (s *still) Image() *metadata.Image { return &s.image }

func (s *still) Wait(ctx context.Context, ok func(*metadata.Image) bool) (*metadata.Image, error) {
	if ok(&s.image) {
		return &s.image, nil
	}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// logBuffer collects the log at Warn and above.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// newPlainBroker has connections but no cluster. Tests put their own APIs into its table.
func newPlainBroker(t *testing.T, change func(*Config)) (*Broker, *logBuffer) {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	logs := new(logBuffer)
	return New(Options{Config: cfg, Logger: logs.logger(), Cluster: &still{}}), logs
}

// value returns the value of a counter or gauge.
func value(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("gather: %v, %v", families, err)
	}
	m := families[0].GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

func (b *Broker) override(a api) {
	a.metrics = b.metrics.of(a.name())
	b.apis[a.key] = &a
}

// pipes is a listener whose connections are made by dial, in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return address("pipes") }

type address string

func (a address) Network() string { return "pipe" }
func (a address) String() string  { return string(a) }

type namedConn struct {
	net.Conn
	remote address
}

func (c namedConn) RemoteAddr() net.Addr { return c.remote }

// dial returns the client's end after the broker has accepted the other.
func (p *pipes) dial(t testing.TB, from string) *client {
	t.Helper()
	near, far := net.Pipe()
	select {
	case p.conns <- namedConn{far, address(from)}:
	case <-p.closed:
		t.Fatal("the listener is closed")
	}
	return &client{t: t, Conn: near}
}

// running serves a broker on pipes until the test or stop ends it.
type running struct {
	*pipes
	stop context.CancelFunc
	done chan error
}

func serveOn(t testing.TB, b *Broker) *running {
	t.Helper()
	p := newPipes()
	r := serveListener(t, b, p)
	r.pipes = p
	return r
}

// serveNamed is serveOn with another listener name.
func serveNamed(t testing.TB, b *Broker, name string) *running {
	t.Helper()
	p := newPipes()
	r := serveListenerNamed(t, b, name, p)
	r.pipes = p
	return r
}

func serveListener(t testing.TB, b *Broker, ln net.Listener) *running {
	t.Helper()
	return serveListenerNamed(t, b, "PLAINTEXT", ln)
}

func serveListenerNamed(t testing.TB, b *Broker, name string, ln net.Listener) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // ends after the test itself
	r := &running{stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- b.NewListener(name, nil).Serve(ctx, ln) }()
	return r
}

// finish stops the listener and checks that no memory is still charged.
func (r *running) finish(t testing.TB, b *Broker) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if used := b.budget.Used(); used != 0 {
		t.Errorf("%d bytes of the budget are in use after the end", used)
	}
}

// client is the other end of a connection.
type client struct {
	net.Conn
	t testing.TB
}

func (c *client) send(correlationID int32, req kmsg.Request) {
	c.t.Helper()
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlationID)); err != nil {
		c.t.Errorf("send %d: %v", correlationID, err)
	}
}

// receive reads one response frame.
func (c *client) receive() (correlationID int32, body []byte, err error) {
	var head [8]byte
	if _, err = io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err = io.ReadFull(c, body)
	return int32(binary.BigEndian.Uint32(head[4:])), body, err
}

// expect reads the response to req, which must be the next one.
func (c *client) expect(correlationID int32, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	got, body, err := c.receive()
	if err != nil {
		c.t.Fatalf("receive %d: %v", correlationID, err)
	}
	if got != correlationID {
		c.t.Fatalf("received the response to %d, want %d", got, correlationID)
	}
	resp := req.ResponseKind()
	if resp.IsFlexible() && req.Key() != apiVersionsKey {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("decode response to %d: %v", correlationID, err)
	}
	return resp
}

// call sends a request and waits for its response.
func (c *client) call(correlationID int32, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	c.send(correlationID, req)
	return c.expect(correlationID, req)
}

// expectEnd checks that the broker has closed the connection without further bytes.
func (c *client) expectEnd() {
	c.t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

func expectLogged(t *testing.T, logs *logBuffer, text string, times int) {
	t.Helper()
	if got := strings.Count(logs.String(), text); got != times {
		t.Errorf("logged %q %d times, want %d: %s", text, got, times, logs)
	}
}

func clusterRequest(version int16) *kmsg.DescribeClusterRequest {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version = version
	return req
}
