package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// credentialsOf are the options of a client that asks for its TLS configuration at each connection; none without one.
func credentialsOf(config func(host string) *tls.Config) []grpc.DialOption {
	if config == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(freshTLS{config})}
}

// freshTLS is gRPC's TLS for a client, with the configuration of the moment.
type freshTLS struct{ config func(host string) *tls.Config }

// ClientHandshake makes a connection to a server a secure one.
func (f freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority // it has no port
	}
	return credentials.NewTLS(f.config(host)).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is not for clients.
func (freshTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info describes these credentials.
func (freshTLS) Info() credentials.ProtocolInfo { return credentials.NewTLS(nil).Info() }

// Clone returns a copy.
func (f freshTLS) Clone() credentials.TransportCredentials { return f }

// OverrideServerName is deprecated, and not called.
func (freshTLS) OverrideServerName(string) error {
	return errors.New("the server's name is that of its endpoint")
}
