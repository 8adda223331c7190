package notify

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// Routes are how the embedded servers of several brokers find each other.
type Routes struct {
	Name string // of this server, unique among them
	// Listen is HOST:PORT for the other servers; empty: this server only connects.
	Listen string
	// Peers are HOST:PORT of servers that listen. This one may be among them.
	Peers []string
	// TLS makes the servers accept and make only TLS connections, on which both sides present a
	// certificate. The one configuration is for both directions. nil: plain TCP.
	TLS *tls.Config
}

// routeTLSTimeout bounds a handshake between servers, in seconds.
const routeTLSTimeout = 5

// apply makes a single server part of a cluster. A server in a cluster must have a port for
// clients: it is on loopback, and only this process has the token.
func (r *Routes) apply(o *server.Options, cluster string) error {
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
	o.Authorization = rand.Text()
	o.ServerName = r.Name
	o.Cluster.Name = cluster
	o.Cluster.Host, o.Cluster.Port = "127.0.0.1", server.RANDOM_PORT
	if r.Listen != "" {
		host, port, err := net.SplitHostPort(r.Listen)
		if err != nil {
			return fmt.Errorf("address for other servers: %w", err)
		}
		if o.Cluster.Port, err = strconv.Atoi(port); err != nil {
			return fmt.Errorf("address for other servers: port: %w", err)
		}
		o.Cluster.Host = host
	}
	if r.TLS != nil {
		o.Cluster.TLSConfig, o.Cluster.TLSTimeout = r.TLS, routeTLSTimeout
	}
	for _, peer := range r.Peers {
		if peer != r.Listen {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: peer})
		}
	}
	return nil
}

// startServer runs a NATS server whose only client is this process, and returns the token that
// clients need.
func startServer(options Options, logger *slog.Logger) (*server.Server, string, error) {
	o := &server.Options{
		ServerName: "varve",
		DontListen: true,
		NoSigs:     true,
		NoLog:      true,
		JetStream:  false,
		MaxPayload: maxHint,
	}
	if options.Routes != nil {
		if err := options.Routes.apply(o, options.Cluster); err != nil {
			return nil, "", err
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, "", fmt.Errorf("make the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(serverLog{logger}, false, false, false)
	s.Start()
	if s.ReadyForConnections(startTimeout) {
		return s, o.Authorization, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, "", errors.New("start the embedded NATS server: it is not ready in time")
}

func (b *Bus) stopServer() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
}

// serverLog writes the server's messages to the broker's log, from warnings on.
type serverLog struct{ logger *slog.Logger }

func (l serverLog) Warnf(format string, args ...any) {
	l.logger.Warn("the NATS server reports", slog.String("message", fmt.Sprintf(format, args...)))
}

// routeRetry is the prefix of the server's message about a broker that has not started or is gone.
// The server retries by itself.
const routeRetry = "Error trying to connect to route"

func (l serverLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, routeRetry) {
		l.Warnf(format, args...)
		return
	}
	l.logger.Error("the NATS server reports", slog.String("message", fmt.Sprintf(format, args...)))
}

func (l serverLog) Fatalf(format string, args ...any) { l.Errorf(format, args...) }

func (serverLog) Noticef(string, ...any) {}
func (serverLog) Debugf(string, ...any)  {}
func (serverLog) Tracef(string, ...any)  {}
