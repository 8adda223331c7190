package controller

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
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
	loader *metadata.Loader
	admin  *metadata.Admin
	now    func() time.Time

	registry *prometheus.Registry // of the loader's metrics
}

// newCluster runs a loader until the test ends.
func newCluster(t *testing.T, store kv.Store) *cluster {
	t.Helper()
	c := &cluster{store: store, now: time.Now, registry: prometheus.NewRegistry()}
	c.loader = metadata.NewLoader(metadata.LoaderOptions{Store: store, Logger: testLogger(t), Registerer: c.registry})
	c.admin = metadata.NewAdmin(metadata.AdminOptions{Store: store, Loader: c.loader, Now: func() time.Time { return c.now() }})
	background(t, c.loader.Run)
	c.wait(t, func(m *metadata.Image) bool { return m.Revision > 0 })
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

func (c *cluster) wait(t *testing.T, ok func(*metadata.Image) bool) *metadata.Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	image, err := c.loader.Wait(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func (c *cluster) registration(t *testing.T, id int32, directory, rack string) *metadata.Registration {
	t.Helper()
	return metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: id, DirectoryID: directory, Rack: rack, Now: time.Now, Logger: testLogger(t),
		Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092 + id, Protocol: "PLAINTEXT"}},
	})
}

// register registers brokers once, without keeping them alive.
func (c *cluster) register(t *testing.T, ids ...int32) []*metadata.Registration {
	t.Helper()
	registrations := make([]*metadata.Registration, len(ids))
	for i, id := range ids {
		registrations[i] = c.registration(t, id, metadata.NewTopicID().String(), "")
		epoch, err := registrations[i].Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *metadata.Image) bool { return m.Brokers[id].Epoch == epoch })
	}
	return registrations
}

// create creates one topic that must not fail.
func (c *cluster) create(t *testing.T, spec metadata.TopicSpec) *metadata.Topic {
	t.Helper()
	if err := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{spec}, false)[0].Err; err != nil {
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
	mu    sync.Mutex
	n     int
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

// moveLeader has the second member of a-0 lead, although the first could.
func (c *cluster) moveLeader(t *testing.T) {
	t.Helper()
	c.alter(t, "a", 0, func(p *metadata.Partition) { elect(p, p.Members()[1]) })
}

// elect makes a member the leader, as an election does.
func elect(p *metadata.Partition, m metadata.Member) {
	p.Leader, p.LeaderBrokerEpoch = m.Broker, m.Epoch
	p.LeaderEpoch++
	p.PartitionEpoch++
}

// alter writes another state of a partition, and returns the image that shows it.
func (c *cluster) alter(t *testing.T, topic string, n int32, change func(p *metadata.Partition)) *metadata.Image {
	t.Helper()
	revision, err := c.store.Txn(t.Context(), nil, altered(t, c.loader.Image(), topic, n, change).Ops...)
	if err != nil {
		t.Fatal(err)
	}
	return c.wait(t, func(m *metadata.Image) bool { return m.Revision >= revision })
}

// altered is the change that writes another state of a partition.
func altered(t *testing.T, image *metadata.Image, topic string, n int32, change func(p *metadata.Partition)) metadata.Change {
	t.Helper()
	of, ok := image.TopicByName(topic)
	if !ok {
		t.Fatalf("there is no topic %s", topic)
	}
	before := &of.Partitions[n]
	next := metadata.Repaired{Partition: *before, Reason: "a test"}
	change(&next.Partition)
	write, _ := next.Change(of, n, before)
	return write
}

// uncleanElections is how many the loader has counted.
func (c *cluster) uncleanElections(t *testing.T) float64 {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "kafka_controller_controllerstats_uncleanleaderelections_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("unclean elections are not counted")
	return 0
}
