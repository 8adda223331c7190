package notify

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are the parameters of a Bus.
type Options struct {
	// URLs of an external NATS, separated by commas. Empty: the bus starts a server in this process
	// that listens on no port.
	URLs   string
	Access Access // to the external NATS
	// Routes connect the server in this process to those of other brokers; nil: there are no
	// others.
	Routes     *Routes
	Cluster    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

// Bus publishes and receives hints. Its methods may be called from any goroutine.
type Bus struct {
	logger  *slog.Logger
	metrics *metrics
	prefix  string
	server  *server.Server // nil with an external NATS
	conn    *nats.Conn
	closed  chan struct{} // closed by the connection after its goroutines have ended
}

// The bounds of starting and stopping.
const (
	startTimeout  = 5 * time.Second
	reconnectWait = 250 * time.Millisecond
)

// Open starts the bus. An external NATS that is unreachable is not an error: the bus connects when
// it can.
func Open(o Options) (*Bus, error) {
	if !subjectTokens(o.Cluster) {
		return nil, fmt.Errorf("open the hint bus: the cluster name %q cannot be part of a NATS subject", o.Cluster)
	}
	options, err := o.Access.options()
	if err != nil {
		return nil, fmt.Errorf("open the hint bus: %w", err)
	}
	if len(options) > 0 && o.URLs == "" {
		return nil, errors.New("open the hint bus: credentials and files for TLS are given, but no URL of an external NATS")
	}
	b := &Bus{
		logger:  o.Logger.With(slog.String("component", "nats")),
		metrics: newMetrics(o.Registerer),
		prefix:  "varve." + o.Cluster + ".",
		closed:  make(chan struct{}),
	}
	var refused string // why the last attempt failed; NATS calls one handler at a time
	options = append(options,
		nats.Name("varve"),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // a hint that cannot be sent now is dropped
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.logger.Warn("NATS is out of reach; changes are noticed later until it is back", slog.Any("error", err))
			}
		}),
		nats.IgnoreAuthErrorAbort(), // the password may be corrected at the server
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if err.Error() != refused {
				refused = err.Error()
				b.logger.Warn("NATS cannot be reached; changes are noticed later until it can be", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { refused = ""; b.logger.Info("NATS is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.logger.Warn("NATS reports", slog.Any("error", err))
		}),
	)
	if o.URLs == "" {
		var token string
		if b.server, token, err = startServer(o, b.logger); err != nil {
			return nil, fmt.Errorf("open the hint bus: %w", err)
		}
		options = append(options, nats.InProcessServer(b.server), nats.Token(token))
	}
	if b.conn, err = nats.Connect(o.URLs, options...); err != nil {
		b.stopServer()
		return nil, fmt.Errorf("open the hint bus: %w", err)
	}
	b.watch(o.Registerer)
	return b, nil
}

// subjectTokens reports whether a name can be part of a NATS subject.
func subjectTokens(name string) bool {
	for token := range strings.SplitSeq(name, ".") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == '*' || r == '>' }) {
			return false
		}
	}
	return true
}

// Close stops the bus and waits for its goroutines. A hint that is being handled is handled to its
// end.
func (b *Bus) Close() {
	b.conn.Close()
	<-b.closed
	b.stopServer()
}

// Publish sends a hint to all brokers, this one included, or drops it.
func Publish[H Hint](b *Bus, hint H) {
	name := kind(hint)
	payload, err := encode(hint)
	if err == nil {
		err = b.conn.Publish(b.prefix+name, payload)
	}
	if err != nil {
		b.metrics.dropped.WithLabelValues(name).Inc()
		return
	}
	b.metrics.published.WithLabelValues(name).Inc()
}

// Subscribe calls handle with every hint of its kind, one after another, until stop is called. stop
// waits for a call in progress, so handle must not call it. A slow handler loses hints.
func Subscribe[H Hint](b *Bus, handle func(H)) (stop func(), err error) {
	var zero H
	name := kind(zero)
	var busy sync.Mutex
	stopped := false
	subscription, err := b.conn.Subscribe(b.prefix+name, func(m *nats.Msg) {
		hint, decodeErr := decode[H](m.Data)
		if decodeErr != nil {
			b.metrics.dropped.WithLabelValues(name).Inc()
			b.logger.Warn("a hint that cannot be read is dropped", slog.Any("error", decodeErr))
			return
		}
		busy.Lock()
		defer busy.Unlock()
		if stopped {
			return
		}
		b.metrics.received.WithLabelValues(name).Inc()
		handle(hint)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s hints: %w", name, err)
	}
	if err = subscription.SetPendingLimits(pendingHints, pendingHints*maxHint); err != nil {
		_ = subscription.Unsubscribe() // the first error says what is wrong
		return nil, fmt.Errorf("subscribe to %s hints: %w", name, err)
	}
	return func() {
		_ = subscription.Unsubscribe() // fails only when the connection is closed
		busy.Lock()
		defer busy.Unlock()
		stopped = true
	}, nil
}

// pendingHints bounds the hints that wait for one handler.
const pendingHints = 1024
