package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
)

// Options are the options of an external etcd.
type Options struct {
	Endpoints []string // URLs or host:port
	Cluster   string   // the name under which this Varve cluster keeps its keys
	// Brokers is set if the members run in brokers, as EmbeddedOptions.Member configures them.
	Brokers bool
	// TLS returns the configuration of a connection to a host; it is called for each connection.
	// nil: https endpoints are verified by the system's authorities.
	TLS            func(host string) *tls.Config
	User, Password string
	DialTimeout    time.Duration // 5 s if zero
	RequestTimeout time.Duration // 5 s if zero
	// Wait is how long Open tries, while it logs the members that it waits for; DialTimeout if
	// zero.
	Wait   time.Duration
	Logger *slog.Logger

	patience  time.Duration // how long a member may be silent; probeTimeout if zero
	keepAlive time.Duration // keepAliveTime if zero
}

// A connection that is silent, while others to the same etcd are not, is closed after the sum of
// these. gRPC accepts no less than 10 s for the first.
const (
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// Open connects to an external etcd and checks that it answers.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := checkCluster(o.Cluster); err != nil {
		return nil, err
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = defaultTimeout
	}
	live := newLiveness(o.Logger, cmp.Or(o.patience, probeTimeout))
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.Endpoints,
		DialTimeout:          o.DialTimeout,
		DialKeepAliveTime:    cmp.Or(o.keepAlive, keepAliveTime),
		DialKeepAliveTimeout: keepAliveTimeout,
		DialOptions:          append(live.dialOptions(), credentialsOf(o.TLS)...),
		Username:             o.User,
		Password:             o.Password,
		Logger:               newZap(o.Logger, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
	}
	s := newStore(client, o.Cluster, o.RequestTimeout)
	s.tls = o.TLS
	s.stop = func() error { live.close(); return nil }
	if s.quorum.id = elsewhere; o.Brokers {
		s.quorum.id = ofBrokers
	}
	if err = live.start(ctx, client); err == nil {
		err = s.awaitAnswer(ctx, o)
	}
	if err != nil {
		_ = s.Close() // the first error names the cause
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
	}
	return s, nil
}

// awaitAnswer waits until etcd answers a request that needs a leader.
func (s *Store) awaitAnswer(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Wait, o.DialTimeout))
	defer cancel()
	said := time.Now()
	pause := backoff.Backoff{Min: reconnectMin, Max: reconnectMax}
	for {
		_, err := s.Get(ctx, "cluster-id")
		if !errors.Is(err, kv.ErrUnavailable) {
			return err
		}
		if time.Since(said) >= quorumLogInterval {
			said = time.Now()
			o.Logger.Info("waiting for a majority of the members of etcd", slog.String("silent", silent(ctx, o.Endpoints)), slog.Any("error", err))
		}
		if !pause.Sleep(ctx) {
			return fmt.Errorf("%w (silent: %s)", err, silent(context.WithoutCancel(ctx), o.Endpoints))
		}
	}
}

// silent lists the endpoints that accept no connection.
func silent(ctx context.Context, endpoints []string) string {
	var silent []string
	for _, endpoint := range endpoints {
		if !accepts(ctx, addressOf(endpoint)) {
			silent = append(silent, endpoint)
		}
	}
	return list(silent)
}
