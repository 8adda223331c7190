package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Options are those of an external etcd.
type Options struct {
	Endpoints []string // URLs or host:port
	Cluster   string   // name under which this Varve cluster keeps its keys
	// CAFile verifies the servers; CertFile and KeyFile identify this broker.
	CAFile, CertFile, KeyFile string
	User, Password            string
	DialTimeout               time.Duration // 5 s if zero; also how long Open tries
	RequestTimeout            time.Duration // 5 s if zero
	Logger                    *slog.Logger
}

// The connection to an etcd that has gone silent is given up after their sum.
const (
	keepAliveTime    = 5 * time.Second
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
	tlsConfig, err := o.tls()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.Endpoints,
		DialTimeout:          o.DialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		TLS:                  tlsConfig,
		Username:             o.User,
		Password:             o.Password,
		Logger:               newZap(o.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
	}
	s := newStore(client, o.Cluster, o.RequestTimeout)
	if _, err = s.Get(ctx, "cluster-id"); err != nil {
		_ = s.Close() // the first error says what is wrong
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(o.Endpoints, ","), err)
	}
	return s, nil
}

// tls is nil when no file is given: then https endpoints are verified by the
// system's authorities.
func (o Options) tls() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" && o.KeyFile == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority of etcd: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the certificate authority of etcd: %s holds no PEM certificate", o.CAFile)
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate for etcd: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
