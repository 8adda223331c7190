package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// credentialsOf returns the options of a client that calls config for its TLS configuration at each
// connection. There are none if config is nil.
func credentialsOf(config func(host string) *tls.Config) []grpc.DialOption {
	if config == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(freshTLS{config})}
}

// freshTLS is a client's TLS credentials for gRPC. It calls config for each connection.
type freshTLS struct{ config func(host string) *tls.Config }

// ClientHandshake performs the TLS handshake of a client.
func (f freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority // it has no port
	}
	return credentials.NewTLS(f.config(host)).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake returns an error: these credentials are for clients only.
func (freshTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info returns the protocol info of TLS.
func (freshTLS) Info() credentials.ProtocolInfo { return credentials.NewTLS(nil).Info() }

// Clone returns a copy.
func (f freshTLS) Clone() credentials.TransportCredentials { return f }

// OverrideServerName is deprecated and never called.
func (freshTLS) OverrideServerName(string) error {
	return errors.New("the server's name is that of its endpoint")
}
