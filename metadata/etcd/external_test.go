package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/metadatatest"
)

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		// Below the ports that systems give to outgoing connections: none of these has it while a server that is to come back is away.
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+mathrand.IntN(22_000))))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// external runs an etcd that listens on an address until the test, or stop,
// ends it.
func external(t *testing.T, dir, address string, tls *transport.TLSInfo) (stop func()) {
	t.Helper()
	c := config(EmbeddedOptions{Dir: dir, Logger: slog.New(slog.DiscardHandler)}, nil)
	u := url.URL{Scheme: "http", Host: address}
	if tls != nil {
		u.Scheme, c.ClientTLSInfo = "https", *tls
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	server, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	<-server.Server.ReadyNotify()
	stop = sync.OnceFunc(func() {
		server.Server.Stop() // first, as a killed one: Close waits for streams to end
		server.Close()
	})
	t.Cleanup(stop)
	return stop
}

func openExternal(t *testing.T, o Options) *Store {
	t.Helper()
	o.Cluster, o.Logger = "test", testLogger(t)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func TestExternalConforms(t *testing.T) {
	t.Parallel()
	metadatatest.Run(t, func(t *testing.T) metadatatest.Instance {
		t.Helper()
		address := freePort(t)
		external(t, t.TempDir(), address, nil)
		s := openExternal(t, Options{Endpoints: []string{address}})
		return metadatatest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			if _, err := s.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

func TestClustersDoNotSeeEachOther(t *testing.T) {
	address := freePort(t)
	external(t, t.TempDir(), address, nil)
	one := openExternal(t, Options{Endpoints: []string{address}})
	two, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test2", Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, two) })
	if _, err = one.Txn(t.Context(), nil, metadata.Put("a", nil)); err != nil {
		t.Fatal(err)
	}
	if kvs, _, listErr := two.List(t.Context(), ""); listErr != nil || len(kvs) != 0 {
		t.Errorf("%v, %v", kvs, listErr)
	}
}

func TestNobodyAnswers(t *testing.T) {
	address := freePort(t)
	_, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test", DialTimeout: 300 * time.Millisecond, Logger: testLogger(t)})
	oneLine(t, err, address, "silent: "+address)
	if !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("Open = %v", err)
	}
}

// TestOpenWaits opens the store before there is an etcd.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	var opening sync.WaitGroup
	opening.Go(func() {
		s, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test", DialTimeout: time.Millisecond, Wait: time.Minute, Logger: testLogger(t)})
		if err != nil {
			t.Error(err)
			return
		}
		closeStore(t, s)
	})
	external(t, t.TempDir(), address, nil)
	opening.Wait()
}

// TestStoreSurvivesARestartOfEtcd is invariant I6's ground: calls fail with
// ErrUnavailable while etcd is away, and a watch misses nothing.
func TestStoreSurvivesARestartOfEtcd(t *testing.T) {
	t.Parallel() // etcd takes 5 s to stop while somebody watches
	address, dir := freePort(t), t.TempDir()
	kill := external(t, dir, address, nil)
	s := openExternal(t, Options{Endpoints: []string{address}, RequestTimeout: 500 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	from, err := s.Txn(ctx, nil, metadata.Put("w/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	done := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for batch, watchErr := range s.Watch(watching, "w/", from) {
			if watchErr != nil {
				return
			}
			for _, e := range batch.Events {
				seen <- e.Key
			}
		}
	}()
	if key := <-seen; key != "w/a" {
		t.Fatal(key)
	}
	kill()
	if _, err = s.Get(ctx, "w/a"); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("Get without etcd: %v", err)
	}
	if _, err = s.Txn(ctx, nil, metadata.Put("w/lost", nil)); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("Txn without etcd: %v", err)
	}
	external(t, dir, address, nil)
	for {
		if _, err = s.Txn(ctx, nil, metadata.Put("w/b", nil)); err == nil {
			break
		}
		if !errors.Is(err, metadata.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	for key := ""; key != "w/b"; {
		select {
		case key = <-seen:
		case <-ctx.Done():
			t.Fatal("the watch does not come back")
		}
	}
	stop()
	<-done
	closeStore(t, s)
}

func TestUserAndPassword(t *testing.T) {
	address := freePort(t)
	external(t, t.TempDir(), address, nil)
	admin := openExternal(t, Options{Endpoints: []string{address}}).client
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := admin.RoleAdd(ctx, "root"); return err },
		func() error { _, err := admin.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := admin.UserAdd(ctx, "varve", "password"); return err },
		func() error { _, err := admin.RoleAdd(ctx, "varve"); return err },
		func() error {
			_, err := admin.RoleGrantPermission(ctx, "varve", "/varve/", clientv3.GetPrefixRangeEnd("/varve/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := admin.UserGrantRole(ctx, "varve", "varve"); return err },
		func() error { _, err := admin.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	s := openExternal(t, Options{Endpoints: []string{address}, User: "varve", Password: "password"})
	if _, err := s.Txn(ctx, nil, metadata.Put("a", nil)); err != nil {
		t.Error(err)
	}
	_, err := Open(ctx, Options{Endpoints: []string{address}, Cluster: "test", User: "varve", Password: "wrong", Logger: testLogger(t)})
	oneLine(t, err, address, "invalid user ID or password")
	if errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("a wrong password is not worth a retry: %v", err)
	}
	_, err = Open(ctx, Options{Endpoints: []string{address}, Cluster: "test", Logger: testLogger(t)})
	oneLine(t, err, address)
}

func TestTLS(t *testing.T) {
	certFile, keyFile := certificate(t)
	address := freePort(t)
	external(t, t.TempDir(), address, &transport.TLSInfo{CertFile: certFile, KeyFile: keyFile, TrustedCAFile: certFile, ClientCertAuth: true})
	s := openExternal(t, Options{Endpoints: []string{"https://" + address}, CAFile: certFile, CertFile: certFile, KeyFile: keyFile})
	if _, err := s.Txn(t.Context(), nil, metadata.Put("a", nil)); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]Options{
		"no client certificate": {CAFile: certFile},
		"no such authority":     {CAFile: filepath.Join(t.TempDir(), "absent")},
		"no PEM":                {CAFile: keyFile},
		"no key":                {CAFile: certFile, CertFile: certFile},
	} {
		o.Endpoints, o.Cluster, o.Logger, o.DialTimeout = []string{"https://" + address}, "test", testLogger(t), 300*time.Millisecond
		if _, err := Open(t.Context(), o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// certificate makes one that serves as authority, server and client.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err = os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
