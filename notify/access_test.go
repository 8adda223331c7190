package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/varvelog/varve/security"
	"github.com/varvelog/varve/security/securitytest"
)

// guarded runs a NATS server with these options on loopback and returns its HOST:PORT.
func guarded(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the external NATS server does not start")
	}
	return s.Addr().String()
}

// hears opens a bus and waits until one of its own hints arrives.
func hears(t *testing.T, urls string, access Access) {
	t.Helper()
	b, err := Open(Options{URLs: urls, Access: access, Cluster: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	changes, stop := receive[BrokerSuspect](t, b)
	defer stop()
	Publish(b, BrokerSuspect{BrokerEpoch: 1})
	if got := within(t, changes); got.BrokerEpoch != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestUserAndPassword(t *testing.T) {
	address := guarded(t, server.Options{Username: "varve", Password: "hunter2"})
	hears(t, "nats://varve:hunter2@"+address, Access{})

	var log lockedBuffer
	b, err := Open(Options{URLs: "nats://varve:swordfish@" + address, Cluster: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err) // it may be corrected at the server
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !strings.Contains(log.String(), "Authorization Violation") {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("a refused password is not told: %s", log.String())
		}
	}
	b.Close()
	if strings.Contains(log.String(), "swordfish") {
		t.Errorf("the password is logged: %s", log.String())
	}
}

// TestRefusedIsNotForEver: the server rejects a password more often than NATS's client accepts by
// default, and the bus still connects once the password is right.
func TestRefusedIsNotForEver(t *testing.T) {
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, Username: "varve", Password: "old"}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the external NATS server does not start")
	}
	refusals := &lockedBuffer{}
	b, err := Open(Options{URLs: "nats://varve:new@" + s.Addr().String(), Cluster: "test", Logger: slog.New(slog.NewTextHandler(refusals, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	changes, stop := receive[BrokerSuspect](t, b)
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for total := uint64(0); total < 4; { // the client accepts two by default
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the bus gave up after %d attempts", total)
		}
		v, varzErr := s.Varz(nil)
		if varzErr != nil {
			t.Fatal(varzErr)
		}
		total = v.TotalConnections
	}
	changed := o.Clone()
	changed.Password, changed.Port = "new", s.Addr().(*net.TCPAddr).Port
	if err = s.ReloadOptions(changed); err != nil {
		t.Fatal(err)
	}
	for got := false; !got; {
		select {
		case <-tick.C:
			Publish(b, BrokerSuspect{BrokerEpoch: 2})
		case h := <-changes:
			got = h.BrokerEpoch == 2
		case <-deadline:
			t.Fatalf("the bus does not come back: %s", refusals.String())
		}
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// loaded is material that trusts an authority and has a certificate of it.
func loaded(t *testing.T, ca *securitytest.Authority, pair securitytest.Pair) *security.TLS {
	t.Helper()
	material, err := security.Load(security.Material{Cert: security.PEM{File: pair.StoreFile}, CA: security.PEM{File: ca.File}})
	if err != nil {
		t.Fatal(err)
	}
	return material
}

func TestTLS(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	address := guarded(t, server.Options{
		TLS: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: loaded(t, ca, ca.Issue(t)).Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}),
	})
	for _, scheme := range []string{"tls", "nats"} {
		hears(t, scheme+"://"+address, Access{TLS: loaded(t, ca, ca.Issue(t))})
	}
}

// TestTLSFilesAreReplaced: a bus connects after its certificate was replaced by one of an authority
// that the server trusts.
func TestTLSFilesAreReplaced(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair, stranger := ca.Issue(t), securitytest.NewAuthority(t).Issue(t)
	address := guarded(t, server.Options{
		TLS: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: loaded(t, ca, ca.Issue(t)).Server(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}),
	})
	w := security.NewWatcher(security.WatcherOptions{Logger: slog.New(slog.DiscardHandler), Interval: time.Millisecond})
	material, err := w.Load("nats", security.Material{Cert: security.PEM{File: stranger.StoreFile}, CA: security.PEM{File: ca.File}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); _ = <-done }()
	b, err := Open(Options{URLs: "nats://" + address, Access: Access{TLS: material}, Cluster: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.conn.IsConnected() {
		t.Fatal("a stranger is connected")
	}
	changes, stop := receive[BrokerSuspect](t, b)
	defer stop()
	securitytest.Write(t, stranger.StoreFile, pair.Key+pair.Cert)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for got := false; !got; {
		select {
		case <-tick.C:
			Publish(b, BrokerSuspect{BrokerEpoch: 1})
		case <-changes:
			got = true
		case <-deadline:
			t.Fatal("the bus does not connect with its new certificate")
		}
	}
}

func TestCredentials(t *testing.T) {
	operator, operatorKey := key(t, nkeys.CreateOperator)
	account, accountKey := key(t, nkeys.CreateAccount)
	user, userKey := key(t, nkeys.CreateUser)
	operatorToken, err := jwt.NewOperatorClaims(operatorKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	operatorClaims, err := jwt.DecodeOperatorClaims(operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	accountToken, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userToken, err := jwt.NewUserClaims(userKey).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userToken, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "varve.creds")
	if err = os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err = resolver.Store(accountKey, accountToken); err != nil {
		t.Fatal(err)
	}
	address := guarded(t, server.Options{TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver})
	hears(t, "nats://"+address, Access{CredsFile: file})
}

func key(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// TestFilesThatCannotBeUsed: unusable files are reported at once, by name.
func TestFilesThatCannotBeUsed(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	absent := filepath.Join(t.TempDir(), "absent")
	const urls = "nats://127.0.0.1:1"
	for name, test := range map[string]struct {
		urls   string
		access Access
		want   string
	}{
		"no credentials":          {urls, Access{CredsFile: absent}, absent},
		"credentials are no such": {urls, Access{CredsFile: pair.CertFile}, pair.CertFile},
		"no external NATS":        {"", Access{TLS: loaded(t, ca, pair)}, "no URL of an external NATS"},
	} {
		b, err := Open(Options{URLs: test.urls, Access: test.access, Cluster: "test", Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
