package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	defaultTimeout = 30 * time.Second
	dialTimeout    = 5 * time.Second
	// silence is how long a connection may go without an answer. kgo ignores the context of a call
	// while it greets a broker. So this, not the context, bounds a call to a peer that accepts
	// connections and sends nothing.
	silence    = 10 * time.Second
	minSilence = 100 * time.Millisecond // the least that kgo accepts
)

// Options say where the cluster is and how long a call may take.
type Options struct {
	// Bootstrap is one or more HOST:PORT of brokers.
	Bootstrap []string
	// ClientID is the name under which brokers log and account the requests.
	ClientID string
	// Timeout bounds each call; 0 is 30 seconds.
	Timeout time.Duration
	// TLS is the configuration for listeners with TLS; nil: plain TCP. The host's name is filled in
	// at each connection.
	TLS *tls.Config
}

// Client is a connection to a cluster. Its methods may be called concurrently.
type Client struct {
	options Options
	kafka   *kgo.Client
	admin   *kadm.Client
}

// Open returns a client; no connection is made before the first call. More options of kgo make it a
// producer or a consumer.
func Open(o Options, more ...kgo.Opt) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.ClientID == "" {
		o.ClientID = "varve"
	}
	options := append([]kgo.Opt{
		kgo.SeedBrokers(o.Bootstrap...),
		kgo.ClientID(o.ClientID),
		kgo.SoftwareNameAndVersion("varve", "cli"),
		kgo.DialTimeout(min(o.Timeout, dialTimeout)),
		kgo.RequestTimeoutOverhead(max(min(o.Timeout, silence), minSilence)),
		kgo.RetryTimeout(o.Timeout),
	}, more...)
	if o.TLS != nil {
		options = append(options, kgo.DialTLSConfig(o.TLS))
	}
	kafka, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", o.Bootstrap, err)
	}
	admin := kadm.NewClient(kafka)
	admin.SetTimeoutMillis(int32(o.Timeout.Milliseconds()))
	return &Client{options: o, kafka: kafka, admin: admin}, nil
}

// Kafka returns the client for producing and consuming. Pass its errors through Explain.
func (c *Client) Kafka() *kgo.Client { return c.kafka }

// Close drops all connections. Records that a producer has not flushed are lost.
func (c *Client) Close() { c.kafka.Close() }

// bounded adds the client's timeout to ctx.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.options.Timeout)
}
