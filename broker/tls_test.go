package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/security/securitytest"
	"github.com/varvelog/varve/vfs"
)

// tlsConfigs returns the configurations of a listener and a client that trust each other.
func tlsConfigs(t testing.TB) (listener, client *tls.Config) {
	t.Helper()
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca.PEM))
	certs := []tls.Certificate{cert}
	return &tls.Config{Certificates: certs, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS12},
		&tls.Config{Certificates: certs, RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// serveTCP serves a broker on a TCP port until stop is called, which checks that nothing is left.
func serveTCP(t testing.TB, b *Broker, name string, secure *tls.Config) (address string, stop func()) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.NewListener(name, secure).Serve(ctx, ln) }()
	return ln.Addr().String(), func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func dialTCP(t testing.TB, address string, secure *tls.Config) *client {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t: t, Conn: conn}
}

// ended waits until the broker has closed the connection; up to 64 bytes may precede the end.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); n > 64 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

// TestTLSSendsTheSameBytes fetches partitions above and below the size of inline batches, over
// plain TCP and over TLS, several requests at a time.
func TestTLSSendsTheSameBytes(t *testing.T) {
	c := newDataClusterIn(t, 1, vfs.OS{}, t.TempDir())
	id := c.topic("a", 3)
	large := batchOf(t, slices.Repeat([]string{string(bytes.Repeat([]byte("0123456789"), 5_000))}, 16)...)
	for range 8 {
		c.exchange(&Request{}, produceRequest(12, -1, "a", metadata.TopicID{}, 0, slices.Clone(large)))
	}
	for range 10 {
		c.produce("a", 1, "small")
	}
	listener, clients := tlsConfigs(t)
	plain, stopPlain := serveTCP(t, c.Broker, "PLAINTEXT", nil)
	defer stopPlain()
	secure, stopSecure := serveTCP(t, c.Broker, "SSL", listener)
	defer stopSecure()
	const times = 5
	fetched := func(conn *client) (bodies [][]byte) {
		defer func() { _ = conn.Close() }()
		for i := range int32(times) {
			req := fetchRequest(17, "", id, 0, 1, 2)
			req.Topics[0].Partitions[0].PartitionMaxBytes = 10 << 20
			conn.send(i, req)
		}
		for i := range int32(times) {
			got, body, err := conn.receive()
			if err != nil || got != i {
				t.Fatalf("response %d: %d, %v", i, got, err)
			}
			bodies = append(bodies, body)
		}
		return bodies
	}
	want := fetched(dialTCP(t, plain, nil))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := clients.Clone()
		config.MinVersion, config.MaxVersion = version, version
		got := fetched(dialTCP(t, secure, config))
		for i := range want {
			if len(want[i]) < 8*800_000 || !bytes.Equal(got[i], want[i]) {
				t.Errorf("TLS %x: response %d: %d bytes, %d over plain TCP", version, i, len(got[i]), len(want[i]))
			}
		}
	}
}

// TestWrongProtocolEnds sends plain text to a listener with TLS, TLS to one without, and connects
// untrusted and silent clients to the first one. None of them keeps other clients from being
// served.
func TestWrongProtocolEnds(t *testing.T) {
	b, logs := newPlainBroker(t, func(c *Config) { c.HandshakeTimeout = 300 * time.Millisecond })
	listener, clients := tlsConfigs(t)
	plain, stopPlain := serveTCP(t, b, "PLAINTEXT", nil)
	secure, stopSecure := serveTCP(t, b, "SSL", listener)
	_, strangers := tlsConfigs(t)

	if err := dialTCP(t, plain, clients).Conn.(*tls.Conn).HandshakeContext(t.Context()); err == nil {
		t.Error("a listener without TLS shakes hands")
	}
	if err := dialTCP(t, secure, strangers).Conn.(*tls.Conn).HandshakeContext(t.Context()); err == nil {
		t.Error("a client trusts a broker that it does not know")
	}
	anonymous := clients.Clone()
	anonymous.Certificates = nil
	nobody := dialTCP(t, secure, anonymous)
	if _, err := nobody.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a client without a certificate: %v", err)
	}
	unencrypted := dialTCP(t, secure, nil)
	unencrypted.send(1, kmsg.NewPtrApiVersionsRequest())
	ended(t, unencrypted)
	silent := dialTCP(t, secure, nil)
	slow := dialTCP(t, secure, nil)
	// a record of 16 KiB whose bytes never arrive
	if _, err := slow.Write([]byte{0x16, 3, 1, 0x40, 0}); err != nil {
		t.Fatal(err)
	}
	dialTCP(t, secure, clients).call(1, kmsg.NewPtrApiVersionsRequest())
	ended(t, silent)
	ended(t, slow)
	stopSecure()
	stopPlain()
	if got := value(t, b.metrics.handshakeFailures); got != 5 {
		t.Errorf("%v handshakes failed, want 5", got)
	}
	if got := value(t, b.metrics.connections); got != 0 {
		t.Errorf("%v connections open after the end", got)
	}
	if logs.String() != "" {
		t.Errorf("logged: %s", logs)
	}
}

// TestStopEndsHandshakes stops a listener during a client's handshake, which must not count as a
// failure.
func TestStopEndsHandshakes(t *testing.T) {
	b, _ := newPlainBroker(t, func(c *Config) { c.HandshakeTimeout, c.DrainTimeout = time.Hour, time.Hour })
	listener, clients := tlsConfigs(t)
	secure, stop := serveTCP(t, b, "SSL", listener)
	silent := dialTCP(t, secure, nil)
	served := dialTCP(t, secure, clients)
	served.call(1, kmsg.NewPtrApiVersionsRequest()) // the connection before it has been accepted
	began := time.Now()
	stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the stop took %v", took)
	}
	ended(t, silent)
	served.expectEnd()
	if got := value(t, b.metrics.handshakeFailures); got != 0 {
		t.Errorf("%v handshakes failed", got)
	}
}

// BenchmarkFetchHotTLS fetches 16 MiB of one partition from the page cache in each request, over
// loopback with TLS.
func BenchmarkFetchHotTLS(b *testing.B) {
	c, id, _ := benchCluster(b, 16)
	listener, clients := tlsConfigs(b)
	address, stop := serveTCP(b, c.Broker, "SSL", listener)
	b.Cleanup(stop)
	benchmarkFetchHot(b, c, id, dialTCP(b, address, clients))
}
