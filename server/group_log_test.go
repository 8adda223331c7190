package server

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/coordinator/coordinatortest"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/runtest"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTopicLogIsACoordinatorLog: the contract of a coordinator's log holds for an internal topic of
// a real broker.
func TestTopicLogIsACoordinatorLog(t *testing.T) {
	coordinatortest.TestLog(t, func(t *testing.T) coordinatortest.Harness {
		t.Helper()
		b := newTestBroker(t)
		b.create(offsetsTopic, 2)
		b.elect(0, 1)
		b.elect(1, 1)
		return coordinatortest.Harness{Log: topicLog{topic: offsetsTopic, replicas: b.replicas}, Elect: b.elect}
	})
}

// testBroker is the data side of a broker on a store and a disk in memory.
type testBroker struct {
	t        *testing.T
	store    *kvtest.MemStore
	loader   *metadata.Loader
	replicas *replication.Manager
	stop     func() // the current registration and controller
}

func newTestBroker(t *testing.T) *testBroker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &testBroker{t: t, store: kvtest.NewMemStore()}
	t.Cleanup(func() { _ = b.store.Close() })
	b.loader = metadata.NewLoader(metadata.LoaderOptions{Store: b.store, Logger: log})
	runtest.Background(t, b.loader.Run)
	id, err := metadata.EnsureClusterID(t.Context(), b.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := storage.OpenManager(t.Context(), storage.Options{FS: vfs.NewMem(), Dirs: []string{"/logs"}, ClusterID: id, NodeID: 1, Logger: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	b.replicas = replication.New(replication.Options{
		BrokerID: 1, Storage: logs, Cluster: b.loader, Logger: log,
		Config: func(*metadata.Image, string) replication.Config {
			return replication.Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
		},
		Followers: replication.Followers{BrokerEpoch: func() int64 { return b.loader.Image().Brokers[1].Epoch }},
	})
	runtest.Background(t, b.replicas.Run)
	b.register()
	t.Cleanup(func() { b.stop() })
	return b
}

// write writes to the store and returns the image that has the write.
func (b *testBroker) write(ops ...kv.Op) *metadata.Image {
	b.t.Helper()
	revision, err := b.store.Txn(b.t.Context(), nil, ops...)
	if err != nil {
		b.t.Fatal(err)
	}
	image, err := b.loader.WaitRevision(b.t.Context(), revision)
	if err != nil {
		b.t.Fatal(err)
	}
	return image
}

// register registers the broker again, as a restart does, and it is elected again.
func (b *testBroker) register() {
	b.t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := metadata.NewRegistration(metadata.RegistrationOptions{Store: b.store, BrokerID: 1, DirectoryID: "d", Now: time.Now, Logger: log})
	epoch, err := r.Register(b.t.Context())
	if err == nil {
		_, err = b.loader.WaitRevision(b.t.Context(), epoch)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	c := controller.New(controller.Options{Store: b.store, Loader: b.loader, Registration: r, Now: time.Now, Logger: log})
	b.stop = runtest.Background(b.t, c.Run)
}

func (b *testBroker) create(topic string, partitions int32) {
	b.t.Helper()
	admin := metadata.NewAdmin(metadata.AdminOptions{Store: b.store, Loader: b.loader, Now: time.Now})
	r := admin.CreateTopics(b.t.Context(), []metadata.TopicSpec{{Name: topic, Partitions: partitions, ReplicationFactor: 1}}, false)[0]
	if r.Err == nil {
		r.Err = b.replicas.AwaitServed(b.t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		b.t.Fatal(r.Err)
	}
}

// elect raises the partition to the leader epoch; the other partitions are elected too.
func (b *testBroker) elect(partition, epoch int32) {
	b.t.Helper()
	tp := metadata.TopicPartition{Topic: offsetsTopic, Partition: partition}
	for {
		state, _ := b.loader.Image().Partition(tp)
		if state.LeaderEpoch >= epoch {
			break
		}
		b.stop()
		b.register()
		before := state.LeaderEpoch
		if _, err := b.loader.Wait(b.t.Context(), func(m *metadata.Image) bool {
			p, _ := m.Partition(tp)
			return p.LeaderEpoch > before
		}); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.replicas.AwaitServed(b.t.Context(), nil); err != nil {
		b.t.Fatal(err)
	}
}
