package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/porttest"
	"github.com/varvelog/varve/runtest"
	"github.com/varvelog/varve/security"
	"github.com/varvelog/varve/security/securitytest"
)

// freePort returns an address without a listener that no other test gets.
func freePort(t *testing.T) string {
	t.Helper()
	return porttest.Address(t, 1)
}

// external runs an etcd that listens on an address until stop is called or the test ends.
func external(t *testing.T, dir, address string, tls *transport.TLSInfo) (stop func()) {
	t.Helper()
	var e end
	c := config(EmbeddedOptions{Dir: dir, Logger: slog.New(slog.DiscardHandler), unsynced: true}, &e.began)
	c.ServiceRegister, c.BcryptCost = e.add, 4 // the least that bcrypt takes
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
	stop = sync.OnceFunc(func() { e.stop(server) })
	t.Cleanup(stop)
	return stop
}

func openExternal(t *testing.T, o Options) *Store {
	t.Helper()
	o.Cluster, o.Logger, o.Wait = "test", runtest.Logger(t), cmp.Or(o.Wait, time.Minute)
	o.patience = cmp.Or(o.patience, time.Minute) // a machine under load is not a frozen member
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func TestExternalConforms(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kvtest.Instance {
		t.Helper()
		address := freePort(t)
		external(t, t.TempDir(), address, nil)
		s := openExternal(t, Options{Endpoints: []string{address}})
		return kvtest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			if _, err := s.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

func TestClustersDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	external(t, t.TempDir(), address, nil)
	one := openExternal(t, Options{Endpoints: []string{address}})
	two, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test2", Logger: runtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, two) })
	if _, err = one.Txn(t.Context(), nil, kv.Put("a", nil)); err != nil {
		t.Fatal(err)
	}
	if kvs, _, listErr := two.List(t.Context(), ""); listErr != nil || len(kvs) != 0 {
		t.Errorf("%v, %v", kvs, listErr)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	_, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test", DialTimeout: 300 * time.Millisecond, Logger: runtest.Logger(t)})
	oneLine(t, err, address, "silent: "+address)
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Open = %v", err)
	}
}

// TestOpenWaits opens the store before etcd is started.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	var opening sync.WaitGroup
	opening.Go(func() {
		s, err := Open(t.Context(), Options{Endpoints: []string{address}, Cluster: "test", DialTimeout: time.Millisecond, Wait: time.Minute, Logger: runtest.Logger(t)})
		if err != nil {
			t.Error(err)
			return
		}
		closeStore(t, s)
	})
	external(t, t.TempDir(), address, nil)
	opening.Wait()
}

// TestStoreSurvivesARestartOfEtcd is the basis of invariant I6: calls fail with ErrUnavailable
// while etcd is away, and a watch misses nothing.
func TestStoreSurvivesARestartOfEtcd(t *testing.T) {
	t.Parallel()
	address, dir := freePort(t), t.TempDir()
	kill := external(t, dir, address, nil)
	s := openExternal(t, Options{Endpoints: []string{address}, RequestTimeout: 500 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var from int64
	err := answered(t, func(ctx context.Context) (err error) {
		from, err = s.Txn(ctx, nil, kv.Put("w/a", nil))
		return err
	})
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
	if _, err = s.Get(ctx, "w/a"); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Get without etcd: %v", err)
	}
	if _, err = s.Txn(ctx, nil, kv.Put("w/lost", nil)); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Txn without etcd: %v", err)
	}
	external(t, dir, address, nil)
	for {
		if _, err = s.Txn(ctx, nil, kv.Put("w/b", nil)); err == nil {
			break
		}
		if !errors.Is(err, kv.ErrUnavailable) {
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
	t.Parallel()
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
	s := openExternal(t, Options{Endpoints: []string{address}, User: "varve", Password: "password", DialTimeout: time.Minute})
	if _, err := s.Txn(ctx, nil, kv.Put("a", nil)); err != nil {
		t.Error(err)
	}
	_, err := Open(ctx, Options{Endpoints: []string{address}, Cluster: "test", User: "varve", Password: "wrong", DialTimeout: time.Minute, Logger: runtest.Logger(t)})
	oneLine(t, err, address, "invalid user ID or password")
	if errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("a wrong password is not worth a retry: %v", err)
	}
	_, err = Open(ctx, Options{Endpoints: []string{address}, Cluster: "test", Logger: runtest.Logger(t)})
	oneLine(t, err, address)
}

// loaded returns the TLS configuration of a client that trusts an authority and presents pair, or
// no certificate if pair is zero.
func loaded(t *testing.T, ca *securitytest.Authority, pair securitytest.Pair) func(host string) *tls.Config {
	t.Helper()
	material, err := security.Load(security.Material{Cert: security.PEM{File: pair.StoreFile}, CA: security.PEM{File: ca.File}})
	if err != nil {
		t.Fatal(err)
	}
	return func(host string) *tls.Config { return material.Client(&tls.Config{}, host) }
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	shown := ca.Issue(t)
	address := freePort(t)
	external(t, t.TempDir(), address, &transport.TLSInfo{CertFile: shown.CertFile, KeyFile: shown.KeyFile, TrustedCAFile: ca.File, ClientCertAuth: true})
	endpoints := []string{"https://" + address}
	s := openExternal(t, Options{Endpoints: endpoints, TLS: loaded(t, ca, ca.Issue(t))})
	if _, err := s.Txn(t.Context(), nil, kv.Put("a", nil)); err != nil {
		t.Error(err)
	}
	if q := describe(t, s, 1); len(q.Voters) != 1 {
		t.Errorf("%+v", q)
	}
	for name, config := range map[string]func(string) *tls.Config{
		"no client certificate": loaded(t, ca, securitytest.Pair{}),
		"a stranger":            loaded(t, ca, other.Issue(t)),
		"another authority":     loaded(t, other, ca.Issue(t)),
		"nothing":               nil,
	} {
		o := Options{Endpoints: endpoints, TLS: config, Cluster: "test", Logger: runtest.Logger(t), DialTimeout: 300 * time.Millisecond}
		if _, err := Open(t.Context(), o); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
