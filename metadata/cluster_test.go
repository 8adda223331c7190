package metadata

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// cluster is a store with a loader and an admin, as one broker has them.
type cluster struct {
	store  kv.Store
	loader *Loader
	admin  *Admin
	now    func() time.Time
}

// newCluster runs a loader until the test ends.
func newCluster(t *testing.T, store kv.Store) *cluster {
	t.Helper()
	return newClusterOf(t, store, nil)
}

// newClusterOf is newCluster for a build that supports these features.
func newClusterOf(t *testing.T, store kv.Store, features map[string]FeatureRange) *cluster {
	t.Helper()
	c := &cluster{store: store, now: time.Now}
	c.loader = NewLoader(LoaderOptions{Store: store, Logger: testLogger(t), Features: features})
	c.admin = NewAdmin(AdminOptions{Store: store, Loader: c.loader, Now: func() time.Time { return c.now() }})
	background(t, c.loader.Run)
	c.wait(t, func(m *Image) bool { return m.Revision > 0 })
	return c
}

// background runs a part until the test, or the returned function, ends it.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func (c *cluster) wait(t *testing.T, ok func(*Image) bool) *Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	image, err := c.loader.Wait(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func (c *cluster) registration(t *testing.T, id int32, directory, rack string) *Registration {
	t.Helper()
	return NewRegistration(RegistrationOptions{
		Store: c.store, BrokerID: id, DirectoryID: directory, Rack: rack, Now: time.Now, Logger: testLogger(t),
		Listeners: []Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092 + id, Protocol: "PLAINTEXT"}},
	})
}

// register registers brokers once, without keeping them alive.
func (c *cluster) register(t *testing.T, ids ...int32) []*Registration {
	t.Helper()
	registrations := make([]*Registration, len(ids))
	for i, id := range ids {
		registrations[i] = c.registration(t, id, NewTopicID().String(), "")
		epoch, err := registrations[i].Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return m.Brokers[id].Epoch == epoch })
	}
	return registrations
}

// create creates one topic that must not fail.
func (c *cluster) create(t *testing.T, spec TopicSpec) *Topic {
	t.Helper()
	if err := c.admin.CreateTopics(t.Context(), []TopicSpec{spec}, false)[0].Err; err != nil {
		t.Fatal(err)
	}
	topic, ok := c.loader.Image().TopicByName(spec.Name)
	if !ok {
		t.Fatalf("topic %s is not in the image after its creation", spec.Name)
	}
	return topic
}

// keys are the store's keys with a prefix.
func (c *cluster) keys(t *testing.T, prefix string) []string {
	t.Helper()
	kvs, _, err := c.store.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(kvs))
	for i, pair := range kvs {
		keys[i] = pair.Key
	}
	return keys
}

func memStore(t *testing.T) *kvtest.MemStore {
	t.Helper()
	s := kvtest.NewMemStore()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// hookedStore calls txn before every transaction; its error is returned
// instead. after, if any, runs once the transaction is done, and its error
// replaces the reply: a write that happened and whose reply was lost.
type hookedStore struct {
	kv.Store
	txn   func(n int) error
	after func(n int) error
	list  func() error
	// revoke, if any, replaces the store's.
	revoke func() error
	mu     sync.Mutex
	n      int
}

func (s *hookedStore) Revoke(ctx context.Context, id kv.LeaseID) error {
	if s.revoke != nil {
		return s.revoke()
	}
	return s.Store.Revoke(ctx, id)
}

func (s *hookedStore) Txn(ctx context.Context, cs []kv.Comparison, ops ...kv.Op) (int64, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.txn != nil {
		if err := s.txn(n); err != nil {
			return 0, err
		}
	}
	revision, err := s.Store.Txn(ctx, cs, ops...)
	if s.after != nil {
		if lost := s.after(n); lost != nil {
			return 0, lost
		}
	}
	return revision, err
}

func (s *hookedStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if s.list != nil {
		if err := s.list(); err != nil {
			return nil, 0, err
		}
	}
	return s.Store.List(ctx, prefix)
}
