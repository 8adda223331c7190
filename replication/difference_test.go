package replication

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// imageMachine writes metadata of all kinds under a running manager, and checks that the partitions
// become what the image says, however many changes arrive at once.
type imageMachine struct {
	*cluster
	ids      map[string]metadata.TopicID // of the existing topics
	epoch    int                         // of all partitions' states
	revision int64
}

var machineTopics = []string{"a", "b", "c"}

const machinePartitions = 3

func (m *imageMachine) write(t *rapid.T, ops ...kv.Op) {
	var err error
	if m.revision, err = m.store.Txn(t.Context(), nil, ops...); err != nil {
		t.Fatal(err)
	}
}

func (m *imageMachine) topic(t *rapid.T) string {
	return rapid.SampledFrom(machineTopics).Draw(t, "topic")
}

// state returns a partition's next state: on this broker or not, led by it or not.
func (m *imageMachine) state(t *rapid.T, name string, n int) kv.Op {
	m.epoch++
	replicas := rapid.SampledFrom([][]int32{{1}, {1, 2}, {2, 1, 3}, {2, 3}, {3}}).Draw(t, "replicas")
	leader := rapid.SampledFrom(replicas).Draw(t, "leader")
	epochs := map[int32]int64{1: m.cluster.epoch.Load(), 2: 7, 3: m.follower.Image().Brokers[3].Epoch}
	var ids, of []string
	for _, id := range replicas {
		ids, of = append(ids, fmt.Sprint(id)), append(of, fmt.Sprint(epochs[id]))
	}
	list := strings.Join(ids, ",")
	return kv.Put(fmt.Sprintf("partitions/%s/%d", m.ids[name], n), fmt.Appendf(nil,
		`{"v":1,"replicas":[%s],"isr":[%s],"isr_epochs":[%s],"leader":%d,"leader_epoch":%d,"leader_broker_epoch":%d,"partition_epoch":%d}`,
		list, list, strings.Join(of, ","), leader, m.epoch, epochs[leader], m.epoch))
}

func (m *imageMachine) partition(t *rapid.T) {
	name := m.topic(t)
	if _, exists := m.ids[name]; exists {
		m.write(t, m.state(t, name, rapid.IntRange(0, machinePartitions-1).Draw(t, "partition")))
	}
}

// create creates a topic, in the place of an existing one of that name.
func (m *imageMachine) create(t *rapid.T) {
	name := m.topic(t)
	m.remove(t, name)
	m.ids[name] = metadata.NewTopicID()
	ops := []kv.Op{m.named(name, rapid.IntRange(1, machinePartitions).Draw(t, "count"))}
	for n := range machinePartitions {
		ops = append(ops, m.state(t, name, n))
	}
	m.write(t, ops...)
}

func (m *imageMachine) named(name string, count int) kv.Op {
	return kv.Put("topics/"+name, fmt.Appendf(nil, `{"v":1,"id":%q,"partitions":%d}`, m.ids[name], count))
}

func (m *imageMachine) grow(t *rapid.T) {
	name := m.topic(t)
	if _, exists := m.ids[name]; exists {
		m.write(t, m.named(name, machinePartitions))
	}
}

func (m *imageMachine) remove(t *rapid.T, name string) {
	if id, exists := m.ids[name]; exists {
		m.write(t, kv.Delete("topics/"+name), kv.DeletePrefix("partitions/"+id.String()+"/"))
		delete(m.ids, name)
	}
}

// settings changes the settings of a topic or of this broker, to readable or unreadable ones.
func (m *imageMachine) settings(t *rapid.T) {
	key := "configs/" + rapid.SampledFrom([]string{"topics/a", "topics/b", "brokers/1"}).Draw(t, "key")
	value := rapid.SampledFrom([]string{`{"v":1,"configs":{"flush.messages":"1"}}`, `{"v":1,"configs":{"flush.messages":"2"}}`, "{", ""}).Draw(t, "value")
	if value == "" {
		m.write(t, kv.Delete(key))
	} else {
		m.write(t, kv.Put(key, []byte(value)))
	}
}

// check waits until nothing is left to do, then compares the partitions with the image.
func (m *imageMachine) check(t *rapid.T) {
	image, err := m.follower.WaitRevision(t.Context(), m.revision)
	if err != nil {
		t.Fatal(err)
	}
	m.settle()
	here := 0
	for topic := range image.Topics() {
		for n, state := range topic.Partitions {
			p, hosted := m.m.PartitionByID(topic.ID, int32(n))
			if want := slices.Contains(state.Replicas, 1); hosted != want {
				t.Fatalf("%s-%d is here: %t, replicas %v", topic.Name, n, hosted, state.Replicas)
			}
			if !hosted {
				continue
			}
			here++
			want, got := role.ViewOf(state), p.role.Load()
			if got.LeaderEpoch != want.LeaderEpoch || got.PartitionEpoch != want.PartitionEpoch || got.Leader.Broker != want.Leader.Broker ||
				got.Leads() != (state.Leader == 1) || !slices.Equal(got.Replicas, want.Replicas) || !slices.Equal(got.ISR, want.ISR) {
				t.Fatalf("%s-%d is %+v, want %+v", topic.Name, n, got, want)
			}
			config := testConfig(image, topic.Name)
			if keeps := image.SettingsUnreadable(topic.Name, 1); p.config.Load().Log.FlushMessages != config.Log.FlushMessages || keeps != !p.config.Load().Log.CleanupDelete {
				t.Fatalf("%s-%d has %+v, settings that cannot be read: %t", topic.Name, n, p.config.Load().Log, keeps)
			}
		}
	}
	if all := len(slices.Collect(m.m.Partitions())); all != here && !image.Incomplete() {
		t.Fatalf("%d partitions are here, %d in the image", all, here)
	}
}

// TestPartitionsFollowWhatChanges: the differences that the manager looks at cover everything that
// an image requires.
func TestPartitionsFollowWhatChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &imageMachine{cluster: newClusterTest(t, vfs.NewMem()), ids: map[string]metadata.TopicID{}}
		m.write(rt, kv.Put("brokers/3", []byte(`{"v":1}`)))
		if _, err := m.follower.WaitRevision(rt.Context(), m.revision); err != nil {
			rt.Fatal(err)
		}
		m.start(nil)
		defer m.shutDown()
		rt.Repeat(map[string]func(*rapid.T){
			"partition": m.partition, "partitions": m.partition, "more partitions": m.partition, "create": m.create, "grow": m.grow,
			"delete": func(t *rapid.T) { m.remove(t, m.topic(t)) }, "settings": m.settings, "check": m.check, "checks": m.check,
		})
	})
}

// lateTest has a manager that creates no partition before open is called.
type lateTest struct {
	*cluster
	began chan struct{} // a partition is about to be created
	open  func()
}

func newLateTest(t *testing.T) *lateTest {
	t.Helper()
	gate := make(chan struct{})
	c := &lateTest{cluster: newClusterTest(t, vfs.NewMem()), began: make(chan struct{}, 9), open: sync.OnceFunc(func() { close(gate) })}
	var err error
	c.storage, err = storage.OpenManager(t.Context(), storage.Options{
		FS: c.fs, Dirs: []string{"/data"}, ClusterID: c.id, NodeID: 1, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Config: func(string) storage.Config { c.began <- struct{}{}; <-gate; return storage.DefaultConfig() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.storage.Close() })
	c.m = New(Options{
		BrokerID: 1, Storage: c.storage, Tier: c.tier, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig,
		Followers: Followers{BrokerEpoch: c.epoch.Load},
	})
	background(t, c.m.Run)
	t.Cleanup(c.open)
	if err = c.m.Loaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// make creates the topic "late".
func (c *lateTest) make() metadata.TopicID {
	c.t.Helper()
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{{Name: "late", Partitions: 1, ReplicationFactor: 1}}, false)[0]
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	return r.ID
}

// remove deletes the topic, and returns when the manager has the image without it.
func (c *lateTest) remove() {
	c.t.Helper()
	if gone := c.admin.DeleteTopics(c.t.Context(), []metadata.TopicRef{{Name: "late"}})[0]; gone.Err != nil {
		c.t.Fatal(gone.Err)
	}
	c.followed()
}

// followed waits until the manager has the newest image.
func (c *lateTest) followed() {
	c.t.Helper()
	newest := c.follower.Image().ContentRevision
	c.until(func() bool {
		c.m.served.mu.Lock()
		defer c.m.served.mu.Unlock()
		return c.m.served.revision >= newest
	})
}

// TestPartitionThatIsMadeTooLateGoes: the image that deletes a topic arrives while its partition is
// being created, and no later image changes anything about it. The partition is removed all the
// same.
func TestPartitionThatIsMadeTooLateGoes(t *testing.T) {
	c := newLateTest(t)
	id := c.make()
	<-c.began
	c.remove()
	c.open()
	c.settle()
	if _, here := c.m.PartitionByID(id, 0); here {
		t.Error("a partition of a deleted topic is here")
	}
	if _, there := c.storage.Log("late", 0); there {
		t.Error("its log is there")
	}
}

// TestPartitionThatIsMadeTooLateGivesWay: the topic is deleted, and another one of its name
// created, while its partition is being created. That partition must not be taken for the other
// topic's.
func TestPartitionThatIsMadeTooLateGivesWay(t *testing.T) {
	c := newLateTest(t)
	old := c.make()
	<-c.began
	c.remove()
	id := c.make()
	c.followed()
	c.open()
	c.settle()
	if _, here := c.m.PartitionByID(old, 0); here {
		t.Error("a partition of a deleted topic is here")
	}
	p, here := c.m.PartitionByID(id, 0)
	if !here || !p.role.Load().Leads() {
		t.Fatalf("the topic that is there has its partition here: %t", here)
	}
	if log, there := c.storage.Log("late", 0); !there || metadata.TopicID(log.TopicID()) != id {
		t.Errorf("its log is there: %t", there)
	}
}

// TestWishOfADeletedTopicIsGivenUp: a topic that was to replace a partition created too late is
// deleted as well. Because a part of the metadata cannot be read, that partition stays. Callers
// that wait for served partitions do not wait for the deleted topic's.
func TestWishOfADeletedTopicIsGivenUp(t *testing.T) {
	c := newLateTest(t)
	c.make()
	<-c.began
	c.remove()
	id := c.make()
	c.followed()
	if _, err := c.store.Txn(t.Context(), nil, kv.Put("configs/brokers/1", []byte("{"))); err != nil {
		t.Fatal(err)
	}
	c.remove()
	c.open()
	c.settle()
	if _, here := c.m.PartitionByID(id, 0); here {
		t.Error("a partition of a deleted topic is here")
	}
}
