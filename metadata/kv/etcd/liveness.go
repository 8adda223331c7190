package etcd

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// liveness cuts the connections to a member that is connected but does not answer, because its
// process is stopped or its machine is gone. Requests and watches then continue on another member.
// gRPC alone would notice only after its keepalive, ten seconds or more.
type liveness struct {
	logger  *slog.Logger
	timeout time.Duration // of one probe
	cancel  context.CancelFunc
	probes  sync.WaitGroup

	mu struct {
		sync.Mutex
		conns map[*trackedConn]struct{}
	}
}

// A member that does not answer for the sum of these is given up. That costs little if it was only
// slow: the client connects again.
const (
	probeInterval = 250 * time.Millisecond
	probeTimeout  = 750 * time.Millisecond
)

// Bounds of reconnecting: gRPC's own grow to two minutes.
const (
	reconnectMin   = 100 * time.Millisecond
	reconnectMax   = time.Second
	connectTimeout = 3 * time.Second
)

// trackedConn is a connection that liveness tracks until it is closed.
type trackedConn struct {
	net.Conn
	address string
	owner   *liveness
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.mu.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

func newLiveness(logger *slog.Logger, timeout time.Duration) *liveness {
	l := &liveness{logger: logger, timeout: timeout, cancel: func() {}}
	l.mu.conns = map[*trackedConn]struct{}{}
	return l
}

// dialOptions makes a client connect through dial.
func (l *liveness) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(l.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: connectTimeout,
		}),
	}
}

func (l *liveness) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err // gRPC adds the address
	}
	c := &trackedConn{Conn: conn, address: address, owner: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.conns[c] = struct{}{}
	return c, nil
}

// start probes each of the client's endpoints until close.
func (l *liveness) start(ctx context.Context, client *clientv3.Client) error {
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, endpoint := range client.Endpoints() {
		conn, err := client.Dial(endpoint)
		if err != nil {
			return err
		}
		l.probes.Go(func() {
			l.probe(ctx, healthpb.NewHealthClient(conn), addressOf(endpoint))
			_ = conn.Close() // the client reports its own end
		})
	}
	return nil
}

// close ends the probes.
func (l *liveness) close() {
	l.cancel()
	l.probes.Wait()
}

// probe asks one member again and again for its health, and cuts the connections to it while it
// does not answer. Any answer counts, including an error.
func (l *liveness) probe(ctx context.Context, member healthpb.HealthClient, address string) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	silent := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, l.timeout)
		// Only whether the answer arrives in time matters.
		_, _ = member.Check(attempt, &healthpb.HealthCheckRequest{})
		late := attempt.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return
		}
		if late {
			l.cut(address)
		}
		if late != silent {
			silent = late
			l.logger.Info("a member of etcd answers, or does not any more", slog.String("address", address), slog.Bool("answers", !silent))
		}
	}
}

// cut closes all connections to an address. Their calls then fail with the error that the member is
// unavailable.
func (l *liveness) cut(address string) {
	l.mu.Lock()
	var conns []*trackedConn
	for c := range l.mu.conns {
		if c.address == address {
			conns = append(conns, c)
		}
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the peer does not answer
	}
}

// addressOf returns the host:port that the client connects to for an endpoint.
func addressOf(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		if u, err := url.Parse(endpoint); err == nil {
			return u.Host
		}
	}
	return endpoint
}
