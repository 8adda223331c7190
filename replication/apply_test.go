package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// cluster is a manager that follows real metadata in memory.
type cluster struct {
	t        *testing.T
	store    *kvtest.MemStore
	follower *metadata.Loader
	admin    *metadata.Admin
	fs       vfs.FS
	dirs     []string // none means /data
	id       string
	tier     *fakeTier
	remote   tier         // used in place of tier, unless nil
	epoch    atomic.Int64 // of broker 1's process
	maxHang  time.Duration
	maxLag   time.Duration // of followers; 0: this broker proposes no ISR changes

	storage *storage.Manager
	m       *Manager
	stop    func()
}

func newClusterTest(t *testing.T, fs vfs.FS) *cluster {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	c := &cluster{t: t, store: kvtest.NewMemStore(), fs: fs, tier: newFakeTier()}
	t.Cleanup(func() { _ = c.store.Close() })
	c.follower = metadata.NewLoader(metadata.LoaderOptions{Store: c.store, Logger: logger})
	c.admin = metadata.NewAdmin(metadata.AdminOptions{Store: c.store, Loader: c.follower, Now: time.Now})
	background(t, c.follower.Run)
	var err error
	if c.id, err = metadata.EnsureClusterID(t.Context(), c.store, nil); err != nil {
		t.Fatal(err)
	}
	c.register()
	return c
}

// register registers broker 1 again, as a restart does.
func (c *cluster) register() *metadata.Registration {
	c.t.Helper()
	r := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: 1, DirectoryID: "d", Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092, Protocol: "PLAINTEXT"}},
	})
	epoch, err := r.Register(c.t.Context())
	if err == nil {
		c.epoch.Store(epoch)
		_, err = c.follower.WaitRevision(c.t.Context(), epoch)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// testConfig takes only flush.messages and remote.storage.enable from the settings.
func testConfig(image *metadata.Image, topic string) Config {
	cfg := Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
	cfg.Log.RemoteStorageEnable = image.TopicConfigs(topic)["remote.storage.enable"] != "false"
	if image.TopicConfigs(topic)["flush.messages"] == "1" || image.BrokerConfigs(1)["flush.messages"] == "1" {
		cfg.Log.FlushMessages = 1
	}
	return cfg
}

// start opens the data directory and starts a manager on it.
func (c *cluster) start(listeners map[string]Listener) {
	c.t.Helper()
	c.storage = openStorage(c.t, c.fs, c.id, c.dirs...)
	remote := c.remote
	if remote == nil {
		remote = c.tier
	}
	followers := Followers{BrokerEpoch: c.epoch.Load, MaxLag: c.maxLag}
	if c.maxLag > 0 {
		followers.AlterISR = func(ctx context.Context, changes []metadata.ISRChange) []error {
			return c.admin.AlterISR(ctx, metadata.Member{Broker: 1, Epoch: c.epoch.Load()}, changes)
		}
	}
	c.m = New(Options{
		BrokerID: 1, Storage: c.storage, Tier: remote, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig,
		Followers: followers, MaxHang: c.maxHang,
	})
	for topic, l := range listeners {
		c.m.Listen(topic, l)
	}
	c.stop = background(c.t, c.m.Run)
	if err := c.m.Loaded(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// shutDown stops the manager and closes the data directory.
func (c *cluster) shutDown() {
	c.t.Helper()
	c.stop()
	if err := c.storage.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// restart is shutDown and start, with what the test has changed.
func (c *cluster) restart() {
	c.t.Helper()
	c.shutDown()
	c.start(nil)
}

// create creates a topic and waits until it is served.
func (c *cluster) create(name string, partitions int32, configs map[string]string) metadata.TopicID {
	c.t.Helper()
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{{Name: name, Partitions: partitions, ReplicationFactor: 1, Configs: configs}}, false)[0]
	if r.Err == nil {
		r.Err = c.m.AwaitServed(c.t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	c.settle()
	return r.ID
}

// settle waits until the manager has followed all changes so far, and nothing is left to do.
func (c *cluster) settle() {
	c.t.Helper()
	if err := c.m.AwaitServed(c.t.Context(), nil); err != nil {
		c.t.Fatal(err)
	}
	c.until(func() bool { return c.pending() == 0 })
}

func (c *cluster) pending() int {
	c.m.served.mu.Lock()
	defer c.m.served.mu.Unlock()
	return c.m.served.pending
}

// until waits until a condition holds. It checks the condition whenever the manager publishes.
func (c *cluster) until(holds func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		c.m.served.mu.Lock()
		changed := c.m.served.changed
		c.m.served.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.t.Fatal("it does not come to that")
		}
	}
}

func (c *cluster) partition(name string, number int32) *Partition {
	c.t.Helper()
	p, ok := c.m.Partition(metadata.TopicPartition{Topic: name, Partition: number})
	if !ok {
		c.t.Fatalf("%s-%d is not here", name, number)
	}
	return p
}

func TestManagerFollowsTopics(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	id := c.create("a", 3, nil)
	for n := range int32(3) {
		p := c.partition("a", n)
		if byID, ok := c.m.PartitionByID(id, n); !ok || byID != p {
			t.Errorf("a-%d is not found by its id", n)
		}
		if !p.IsLeader() {
			t.Errorf("a-%d is not led", n)
		}
		if a, err := p.Append(batch(t, 1000, "v"), AcksAll); err != nil || a.Wait(t.Context()) != nil {
			t.Errorf("a-%d: %v", n, err)
		}
		if epoch, ok := c.tier.epochOf(p.tp); !ok || epoch != 0 {
			t.Errorf("a-%d is attached: %v, at epoch %d", n, ok, epoch)
		}
	}
	for _, tp := range []metadata.TopicPartition{{Topic: "a", Partition: 3}, {Topic: "a", Partition: -1}, {Topic: "b", Partition: 0}} {
		if _, ok := c.m.Partition(tp); ok {
			t.Errorf("%s is here", tp)
		}
	}
	if r := c.admin.CreatePartitions(t.Context(), []metadata.PartitionsSpec{{Topic: "a", Count: 5}}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := c.m.AwaitServed(t.Context(), []metadata.TopicID{id}); err != nil {
		t.Fatal(err)
	}
	if p := c.partition("a", 4); !p.IsLeader() || c.partition("a", 0).HighWatermark() != 1 {
		t.Error("growing a topic changed it")
	}
	if n := len(slices.Collect(c.m.Partitions())); n != 5 {
		t.Errorf("%d partitions", n)
	}
}

func TestManagerDeletesTopics(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("kept", 1, nil)
	old := c.create("a", 2, nil)
	p := c.partition("a", 0)
	if _, err := p.Append(batch(t, 1000, "v"), AcksAll); err != nil {
		t.Fatal(err)
	}
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	if _, ok := c.m.Partition(p.tp); ok {
		t.Error("a-0 is still here")
	}
	if _, err := p.Append(batch(t, 1000, "v"), AcksAll); !errors.Is(err, ErrUnknownTopicOrPartition) {
		t.Errorf("append: %v", err)
	}
	if _, ok := c.storage.Log("a", 0); ok {
		t.Error("its log is still there")
	}
	if _, ok := c.tier.epochOf(p.tp); ok {
		t.Error("it is still attached")
	}
	again := c.create("a", 1, nil)
	if again == old {
		t.Fatal("same id")
	}
	if fresh := c.partition("a", 0); fresh.Log().EndOffset() != 0 || fresh.TopicID() != again {
		t.Errorf("the new topic begins at %d", fresh.Log().EndOffset())
	}
	if _, ok := c.m.PartitionByID(old, 0); ok {
		t.Error("the old id is known")
	}
	if !c.partition("kept", 0).IsLeader() {
		t.Error("the other topic is not led any more")
	}
}

func TestManagerPushesConfigs(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	c.create("b", 1, map[string]string{"remote.storage.enable": "false"})
	set := func(r metadata.ConfigResource, key, value string) {
		t.Helper()
		err := c.admin.UpdateConfigs(t.Context(), r, func(old map[string]string) (map[string]string, error) {
			next := map[string]string{key: value}
			return next, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.settle()
	}
	durable := func(name string) bool { return c.partition(name, 0).Log().Config().FlushMessages == 1 }
	if durable("a") || durable("b") {
		t.Fatal("durable from the start")
	}
	if _, ok := c.tier.epochOf(metadata.TopicPartition{Topic: "b"}); ok {
		t.Error("a topic without remote storage is attached")
	}
	set(metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: "b"}, "flush.messages", "1")
	if durable("a") || !durable("b") {
		t.Error("the topic's setting is not in force")
	}
	if _, ok := c.tier.epochOf(metadata.TopicPartition{Topic: "b"}); !ok {
		t.Error("a topic whose remote storage was enabled is not attached")
	}
	set(metadata.ConfigResource{Kind: metadata.BrokerConfig, Broker: 1}, "flush.messages", "1")
	if !durable("a") {
		t.Error("the broker's setting is not in force")
	}
}

// Logs that a restarted broker finds on its disk but not in the metadata are set aside. Logs that
// the metadata have stay.
func TestManagerSetsStraysAside(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	kept := c.create("kept", 1, nil)
	for _, name := range []string{"deleted", "replaced"} {
		c.create(name, 1, nil)
		if _, err := c.partition(name, 0).Append(batch(t, 1000, "v"), AcksAll); err != nil {
			t.Fatal(err)
		}
	}
	c.shutDown()
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "deleted"}, {Name: "replaced"}}); r[0].Err != nil || r[1].Err != nil {
		t.Fatal(r)
	}
	r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "replaced", Partitions: 1, ReplicationFactor: 1}}, false)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	c.start(nil)
	if _, ok := c.storage.Log("deleted", 0); ok {
		t.Error("a deleted topic's log is still there")
	}
	if p := c.partition("replaced", 0); p.TopicID() != r.ID || p.Log().EndOffset() != 0 {
		t.Errorf("replaced topic has id %s and ends at %d", p.TopicID(), p.Log().EndOffset())
	}
	if p := c.partition("kept", 0); p.TopicID() != kept || !p.IsLeader() {
		t.Errorf("kept topic has id %s", p.TopicID())
	}
	if got := strayReasons(c.storage); !maps.Equal(got, map[string]string{"deleted": role.NoTopic, "replaced": role.Renamed}) {
		t.Errorf("set aside: %v", got)
	}
}

// The metadata of another cluster deletes nothing.
func TestManagerRefusesAnotherCluster(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	if _, err := c.partition("a", 0).Append(batch(t, 1000, "v"), AcksLeader); err != nil {
		t.Fatal(err)
	}
	c.shutDown()
	other := newClusterTest(t, c.fs)
	s := openStorage(t, c.fs, c.id)
	m := New(Options{BrokerID: 1, Storage: s, Cluster: other.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig})
	if err := m.Run(t.Context()); err == nil {
		t.Error("it follows")
	}
	if _, ok := s.Log("a", 0); !ok {
		t.Error("the log is gone")
	}
}

// heard is a listener that records its calls.
type heard struct {
	mu   sync.Mutex
	told []string
}

func (h *heard) OnElected(partition, epoch int32) { h.add(fmt.Sprintf("+%d@%d", partition, epoch)) }
func (h *heard) OnResigned(partition int32)       { h.add(fmt.Sprintf("-%d", partition)) }

func (h *heard) add(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, s)
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.told
	h.told = nil
	slices.Sort(told)
	return told
}

func TestManagerTellsListeners(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	h := new(heard)
	c.start(map[string]Listener{"watched": h})
	c.create("other", 1, nil)
	c.create("watched", 2, nil)
	if got := h.take(); !slices.Equal(got, []string{"+0@0", "+1@0"}) {
		t.Errorf("created: %q", got)
	}
	c.create("another", 1, nil)
	if got := h.take(); len(got) != 0 {
		t.Errorf("nothing changed: %q", got)
	}
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "watched"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	if got := h.take(); !slices.Equal(got, []string{"-0", "-1"}) {
		t.Errorf("deleted: %q", got)
	}
}

// After a restart this broker leads again only at the epoch that the controller assigns to its new
// registration.
func TestRestartedBrokerWaitsForItsElection(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	h := new(heard)
	c.start(map[string]Listener{"a": h})
	c.create("a", 1, nil)
	c.shutDown()
	h.take()
	registration := c.register()
	c.start(map[string]Listener{"a": h})
	if _, err := c.partition("a", 0).Append(batch(t, 1000, "v"), AcksAll); !errors.Is(err, ErrNotLeader) {
		t.Errorf("before the election: %v", err)
	}
	stopped := background(t, controller.New(controller.Options{
		Store: c.store, Loader: c.follower, Registration: registration, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}).Run)
	defer stopped()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.follower.Wait(ctx, func(m *metadata.Image) bool {
		p, ok := m.Partition(tpOf("a", 0))
		return ok && p.LeaderEpoch == 1
	})
	if err != nil {
		t.Fatal(err)
	}
	c.settle()
	p := c.partition("a", 0)
	// The election was lossy, because what the log has lost is unknown.
	c.until(func() bool { return p.continuesTier(p.role.Load()) })
	a, err := p.Append(batch(t, 1000, "v"), AcksAll)
	if err != nil || a.FirstOffset != 0 || p.log.LatestEpoch() != 1 {
		t.Errorf("%+v, %v, epoch %d", a, err, p.log.LatestEpoch())
	}
	if got := h.take(); !slices.Equal(got, []string{"+0@1"}) {
		t.Errorf("told %q", got)
	}
	if epoch, _ := c.tier.epochOf(p.tp); epoch != 1 {
		t.Errorf("attached at epoch %d", epoch)
	}
}

// A process leads nothing under the registration of its predecessor, and waits for its own
// election. It leads from then on, even if it learns of the election before it knows its own epoch.
func TestNothingIsLedUnderThePredecessorsRegistration(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	h := new(heard)
	c.start(map[string]Listener{"a": h})
	c.create("a", 1, nil)
	c.shutDown()
	h.take()
	c.tier = newFakeTier()
	c.epoch.Store(0)
	c.start(map[string]Listener{"a": h})
	p := c.partition("a", 0)
	if _, err := p.Append(batch(t, 1000, "v"), AcksAll); !errors.Is(err, ErrNotLeader) {
		t.Errorf("before it is registered: %v", err)
	}
	if told := h.take(); len(told) > 0 {
		t.Errorf("before it is registered listeners were told %q", told)
	}
	if _, attached := c.tier.epochOf(p.tp); attached {
		t.Error("before it is registered the tier was told to upload")
	}
	registration := c.register()
	known := c.epoch.Swap(0) // the answer has not arrived yet
	background(t, controller.New(controller.Options{
		Store: c.store, Loader: c.follower, Registration: registration, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}).Run)
	_, err := c.follower.Wait(t.Context(), func(m *metadata.Image) bool {
		state, ok := m.Partition(p.tp)
		return ok && state.LeaderEpoch == 1
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = c.m.AwaitServed(t.Context(), nil); err != nil || p.IsLeader() {
		t.Errorf("it leads before it knows its epoch, %v", err)
	}
	c.epoch.Store(known)
	if err = c.m.AwaitServed(t.Context(), nil); err != nil || !p.IsLeader() {
		t.Errorf("it does not lead after it has learned its epoch, %v", err)
	}
	if told := h.take(); !slices.Equal(told, []string{"+0@1"}) {
		t.Errorf("listeners were told %q", told)
	}
}

func tpOf(topic string, number int32) metadata.TopicPartition {
	return metadata.TopicPartition{Topic: topic, Partition: number}
}

// A broker whose registration has lapsed continues to lead until another broker is elected.
func TestLapsedRegistrationDoesNotEndTheLeadership(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	c.create("a", 1, nil)
	c.register()
	// A change of the topic makes the manager look at the partition again.
	if r := c.admin.CreatePartitions(t.Context(), []metadata.PartitionsSpec{{Topic: "a", Count: 2}}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	if _, err := c.partition("a", 0).AppendAt(0, batch(t, 1000, "v")); err != nil {
		t.Error(err)
	}
}

// The failure to create a partition is reported to the callers that wait for it, and the creation
// is retried.
func TestFailedCreationIsToldAndRetried(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.start(nil)
	// This log is in the way of the topic's partition.
	if _, err := c.storage.Create("a", 0, metadata.NewTopicID()); err != nil {
		t.Fatal(err)
	}
	r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Partitions: 2, ReplicationFactor: 1}}, false)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := c.m.AwaitServed(t.Context(), []metadata.TopicID{r.ID}); err == nil {
		t.Error("it is said to be served")
	}
	if !c.partition("a", 1).IsLeader() {
		t.Error("the partition that works is not led")
	}
	if err := c.storage.Delete("a", 0); err != nil {
		t.Fatal(err)
	}
	c.until(func() bool { return c.m.served.errors([]metadata.TopicID{r.ID}) == nil })
	if !c.partition("a", 0).IsLeader() {
		t.Error("the partition is not led")
	}
}

// A bound on the time for a large topic: the jobs run in parallel, and one image is applied at
// once.
func TestThousandPartitionsAreServedQuickly(t *testing.T) {
	c := newClusterTest(t, vfs.OS{})
	c.storage, c.fs = nil, vfs.OS{}
	dir := t.TempDir()
	s, err := storage.OpenManager(t.Context(), storage.Options{Dirs: []string{dir}, ClusterID: c.id, NodeID: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c.m = New(Options{
		BrokerID: 1, Storage: s, Tier: c.tier, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig,
		Followers: Followers{BrokerEpoch: c.epoch.Load},
	})
	background(t, c.m.Run)
	r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "wide", Partitions: 1000, ReplicationFactor: 1}}, false)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	start := time.Now()
	if err = c.m.AwaitServed(t.Context(), []metadata.TopicID{r.ID}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	for n := range int32(1000) {
		if !c.partition("wide", n).IsLeader() {
			t.Fatalf("wide-%d is not led", n)
		}
	}
	t.Logf("1,000 partitions are served after %v", took)
	if took > time.Minute { // a loaded machine with the race detector; usually about 0.1 s
		t.Errorf("took %v", took)
	}
}
