package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// restoring is an etcd with a backup, and what a broker has stored in it.
type restoring struct {
	address, dir, backup string
	stop                 func()
	store                *Store
	lease                kv.LeaseID
}

// newRestoring makes the backup when there are a lease and five keys, and then writes ten more
// keys. The etcd is still running.
func newRestoring(t *testing.T) *restoring {
	t.Helper()
	r := &restoring{address: freePort(t), dir: t.TempDir(), backup: t.TempDir()}
	r.stop = external(t, r.dir, r.address, nil)
	r.store = openExternal(t, Options{Endpoints: []string{r.address}})
	grant := func(ctx context.Context) (err error) { r.lease, err = r.store.Grant(ctx, time.Hour); return err }
	if err := answered(t, grant); err != nil {
		t.Fatal(err)
	}
	r.write(t, 5)
	r.stop()
	if err := os.CopyFS(r.backup, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	r.stop = external(t, r.dir, r.address, nil)
	r.write(t, 10)
	return r
}

func (r *restoring) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		write(t, r.store, "k")
	}
}

// restore replaces the running etcd by the backup.
func (r *restoring) restore(t *testing.T) {
	t.Helper()
	r.stop()
	if err := errors.Join(os.RemoveAll(r.dir), os.CopyFS(r.dir, os.DirFS(r.backup))); err != nil {
		t.Fatal(err)
	}
	r.stop = external(t, r.dir, r.address, nil)
}

// answered repeats a request until etcd answers it.
func answered(t *testing.T, request func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if err := request(ctx); !errors.Is(err, kv.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}

// TestRestoredEtcdIsNoticed restores etcd from a backup while a store watches it. The first
// request, whichever it is, returns ErrWentBack; so do the watch and all later requests, and
// nothing is written.
func TestRestoredEtcdIsNoticed(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(s *Store, lease kv.LeaseID) func(context.Context) error{
		"keep alive": func(s *Store, lease kv.LeaseID) func(context.Context) error {
			return func(ctx context.Context) error { return s.KeepAlive(ctx, lease) }
		},
		"get": func(s *Store, _ kv.LeaseID) func(context.Context) error {
			return func(ctx context.Context) error { _, err := s.Get(ctx, "k"); return err }
		},
		"list": func(s *Store, _ kv.LeaseID) func(context.Context) error {
			return func(ctx context.Context) error { _, _, err := s.List(ctx, ""); return err }
		},
		"grant": func(s *Store, _ kv.LeaseID) func(context.Context) error {
			return func(ctx context.Context) error { _, err := s.Grant(ctx, time.Hour); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestoring(t)
			var watching sync.WaitGroup
			var ended error
			from := r.store.history.newest() + 1
			watching.Go(func() {
				for _, err := range r.store.Watch(t.Context(), "", from) {
					ended = err
				}
			})
			r.restore(t)
			if err := answered(t, request(r.store, r.lease)); !errors.Is(err, kv.ErrWentBack) {
				t.Fatalf("the first request: %v", err)
			}
			watching.Wait()
			if !errors.Is(ended, kv.ErrWentBack) {
				t.Errorf("the watch: %v", ended)
			}
			if _, err := r.store.Txn(t.Context(), nil, kv.Put("late", nil)); !errors.Is(err, kv.ErrWentBack) {
				t.Errorf("a write: %v", err)
			}
			if err := r.store.Revoke(t.Context(), r.lease); !errors.Is(err, kv.ErrWentBack) {
				t.Errorf("revoke: %v", err)
			}
			other := openExternal(t, Options{Endpoints: []string{r.address}})
			if pair, err := other.Get(t.Context(), "late"); err != nil || pair.Exists() {
				t.Errorf("written: %+v, %v", pair, err)
			}
		})
	}
}

// TestLoaderNoticesARestoredEtcd: a broker's image stays, and its loader and its registration end.
func TestLoaderNoticesARestoredEtcd(t *testing.T) {
	t.Parallel()
	r := newRestoring(t)
	f := metadata.NewLoader(metadata.LoaderOptions{Store: r.store, Logger: runtest.Logger(t)})
	registration := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: r.store, BrokerID: 1, DirectoryID: "d", Now: time.Now, Logger: runtest.Logger(t),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	var follows, registered error
	all.Go(func() { follows = f.Run(ctx) })
	epoch, err := registration.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := f.WaitRevision(t.Context(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	all.Go(func() { registered = registration.Run(ctx) })
	r.restore(t)
	all.Wait()
	if !errors.Is(follows, kv.ErrWentBack) || !errors.Is(registered, kv.ErrWentBack) {
		t.Errorf("the loader: %v; the registration: %v", follows, registered)
	}
	if f.Image() != image {
		t.Errorf("the image is another: %+v", f.Image())
	}
}

// TestResumeRefusesAnOlderEtcd: a broker was away while etcd was restored.
func TestResumeRefusesAnOlderEtcd(t *testing.T) {
	t.Parallel()
	r := newRestoring(t)
	seen := r.store.history.newest()
	again := openExternal(t, Options{Endpoints: []string{r.address}})
	if err := again.Resume(t.Context(), seen); err != nil {
		t.Errorf("the same etcd: %v", err)
	}
	r.restore(t)
	again = openExternal(t, Options{Endpoints: []string{r.address}})
	err := again.Resume(t.Context(), seen)
	oneLine(t, err, "docs/operations/backup-and-restore-etcd.md", fmt.Sprint(seen))
	if !errors.Is(err, kv.ErrWentBack) {
		t.Error(err)
	}
}

// TestMemberThatLagsHasNotGoneBack: any member may renew a lease, also one that lags.
func TestMemberThatLagsHasNotGoneBack(t *testing.T) {
	t.Parallel()
	s, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: t.TempDir(), Cluster: "test", Logger: runtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	write(t, s, "k")
	header := &etcdserverpb.ResponseHeader{ClusterId: s.history.mu.cluster, Revision: 1}
	if err = s.renewed(t.Context(), header); err != nil {
		t.Errorf("a member lags: %v", err)
	}
	header.ClusterId++
	header.Revision = 1 << 40
	if err = s.renewed(t.Context(), header); !errors.Is(err, kv.ErrWentBack) {
		t.Errorf("another etcd: %v", err)
	}
}
