package metadata

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

func TestCreateTopics(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := c.register(t, 1, 2, 3)
	results := c.admin.CreateTopics(t.Context(), []TopicSpec{
		{Name: "a", Partitions: 4, ReplicationFactor: 2, Configs: map[string]string{"retention.ms": "1"}},
		{Name: "manual", Assignments: map[int32][]int32{0: {2, 1}, 1: {3, 2}}},
	}, false)
	image := c.loader.Image()
	for _, result := range results {
		topic, ok := image.TopicByName(result.Name)
		if result.Err != nil || !ok || topic.ID != result.ID || int(result.Partitions) != len(topic.Partitions) || result.ReplicationFactor != 2 {
			t.Errorf("%+v: %+v", result, topic)
		}
		for n, p := range topic.Partitions {
			if p.Leader != p.Replicas[0] || len(p.ISR) != 2 || p.LeaderEpoch != 0 || p.LeaderBrokerEpoch != r[p.Leader-1].BrokerEpoch() {
				t.Errorf("%s-%d: %+v", result.Name, n, p)
			}
		}
	}
	if got := image.TopicConfigs("a")["retention.ms"]; got != "1" {
		t.Errorf("retention.ms = %q", got)
	}
	if topic, _ := image.TopicByName("manual"); fmt.Sprint(topic.Partitions[0].Replicas, topic.Partitions[1].Replicas) != "[2 1] [3 2]" {
		t.Errorf("assigned %+v", topic.Partitions)
	}
}

func TestCreateTopicsRefuses(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1, 2)
	c.create(t, TopicSpec{Name: "old.one", Partitions: 1, ReplicationFactor: 1})
	before := c.loader.Image().Revision
	specs := []TopicSpec{
		{Name: "no good", Partitions: 1, ReplicationFactor: 1},
		{Name: "old.one", Partitions: 1, ReplicationFactor: 1},
		{Name: "old_one", Partitions: 1, ReplicationFactor: 1},
		{Name: "p", Partitions: 0, ReplicationFactor: 1},
		{Name: "p", Partitions: -1, ReplicationFactor: 1},
		{Name: "p", Partitions: 2_000_000_000, ReplicationFactor: 1},
		{Name: "r", Partitions: 1, ReplicationFactor: 0},
		{Name: "r", Partitions: 1, ReplicationFactor: 3},
		{Name: "m", Assignments: map[int32][]int32{1: {1}}},
		{Name: "m", Assignments: map[int32][]int32{0: {1, 2}, 1: {1}}},
		{Name: "m", Assignments: map[int32][]int32{0: {1, 1}}},
		{Name: "m", Assignments: map[int32][]int32{0: {3}}},
		{Name: "m", Assignments: map[int32][]int32{0: {}}},
	}
	want := []error{
		ErrInvalidTopicName, ErrTopicExists, ErrInvalidTopicName, ErrInvalidPartitions, ErrInvalidPartitions, ErrTooManyPartitions,
		ErrInvalidReplicationFactor, ErrInvalidReplicationFactor,
		ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment,
	}
	for i, result := range c.admin.CreateTopics(t.Context(), specs, false) {
		if !errors.Is(result.Err, want[i]) || result.Name != specs[i].Name {
			t.Errorf("%+v: %v, want %v", specs[i], result.Err, want[i])
		}
	}
	// One invalid topic does not fail the others; names in a batch must differ.
	results := c.admin.CreateTopics(t.Context(), []TopicSpec{
		{Name: "x.y", Partitions: 1, ReplicationFactor: 1},
		{Name: "x_y", Partitions: 1, ReplicationFactor: 1},
		{Name: "x.y", Partitions: 1, ReplicationFactor: 1},
		{Name: "", Partitions: 1, ReplicationFactor: 1},
		{Name: "fine", Partitions: 1, ReplicationFactor: 1},
	}, true)
	for i, err := range []error{nil, ErrInvalidTopicName, ErrInvalidRequest, ErrInvalidTopicName, nil} {
		if !errors.Is(results[i].Err, err) {
			t.Errorf("%d: %v, want %v", i, results[i].Err, err)
		}
	}
	if !results[4].ID.IsZero() || results[4].Partitions != 1 {
		t.Errorf("validated only: %+v", results[4])
	}
	many := c.admin.CreateTopics(t.Context(), []TopicSpec{
		{Name: "m1", Partitions: 6000, ReplicationFactor: 1}, {Name: "m2", Partitions: 6000, ReplicationFactor: 1},
	}, false)
	if !errors.Is(many[0].Err, ErrTooManyPartitions) || !errors.Is(many[1].Err, ErrTooManyPartitions) {
		t.Errorf("12,000 partitions: %+v", many)
	}
	if now := c.loader.Image(); now.Revision != before || now.TopicCount() != 1 {
		t.Errorf("something was written: revision %d after %d", now.Revision, before)
	}
}

// TestOneCreatorWins: of several concurrent creations of a name exactly one succeeds. The
// others fail with ErrTopicExists.
func TestOneCreatorWins(t *testing.T) {
	for _, partitions := range []int32{1, 300} {
		s := kvtest.Open(t)
		admins := make([]*Admin, 8)
		for i := range admins {
			c := newCluster(t, s)
			if i == 0 {
				c.register(t, 1)
			}
			c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 })
			admins[i] = c.admin
		}
		var wg sync.WaitGroup
		errs := make([]error, len(admins))
		for i, a := range admins {
			wg.Go(func() {
				errs[i] = a.CreateTopics(t.Context(), []TopicSpec{{Name: "a", Partitions: partitions, ReplicationFactor: 1}}, false)[0].Err
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrTopicExists) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d partitions: %d creators won", partitions, won)
		}
	}
}

// TestFinishedCreationIsNotCleanedUp: the controller decides to clean up just before the creation
// completes. The comparison of the marker makes the cleanup fail.
func TestFinishedCreationIsNotCleanedUp(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	c := newCluster(t, s)
	c.register(t, 1)
	last := s.Txns() + 5
	var changes []Change
	s.BeforeTxn = func(n int) error {
		if n == last {
			image := c.wait(t, func(m *Image) bool {
				for _, pending := range m.byID.all() {
					return pending.present == 300
				}
				return false
			})
			changes = image.CleanUps(image.Unfinished())
		}
		return nil
	}
	c.create(t, TopicSpec{Name: "a", Partitions: 300, ReplicationFactor: 1})
	if len(changes) != 1 {
		t.Fatalf("planned %+v", changes)
	}
	if _, err := s.Txn(t.Context(), changes[0].Guards, changes[0].Ops...); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("the cleanup of a topic that exists: %v", err)
	}
	if left := kvtest.Keys(t, c.store, partitionsPrefix); len(left) != 300 {
		t.Errorf("%d keys are left", len(left))
	}
}

func TestDeleteTopics(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	a := c.create(t, TopicSpec{Name: "a", Partitions: 300, ReplicationFactor: 1, Configs: map[string]string{"k": "v"}})
	b := c.create(t, TopicSpec{Name: "b", Partitions: 1, ReplicationFactor: 1})
	c.create(t, TopicSpec{Name: "kept", Partitions: 2, ReplicationFactor: 1})
	if _, err := c.store.Txn(t.Context(), nil, kv.Put(TierKey(a.ID, 0), []byte("x"))); err != nil {
		t.Fatal(err)
	}
	results := c.admin.DeleteTopics(t.Context(), []TopicRef{
		{Name: "a"}, {ID: b.ID}, {Name: "never"}, {ID: TopicID{9}}, {Name: "no good"},
	})
	for i, want := range []error{nil, nil, ErrUnknownTopic, ErrUnknownTopicID, ErrUnknownTopic} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("%d: %v, want %v", i, results[i].Err, want)
		}
	}
	if results[0].ID != a.ID || results[1].Name != "b" {
		t.Errorf("results %+v", results)
	}
	image := c.loader.Image()
	if names := image.TopicNames(); len(names) != 1 || names[0] != "kept" || image.byID.len() != 1 {
		t.Errorf("left: %v", names)
	}
	// The broker's two keys, the topic "kept" and its two partitions, and the tier key.
	if keys := kvtest.Keys(t, c.store, ""); len(keys) != 6 {
		t.Errorf("keys: %q", keys)
	}
	if again := c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1}); again.ID == a.ID || c.loader.Image().TopicConfigs("a") != nil {
		t.Error("the new topic is the old one")
	}
}

// TestDeletionByIDSparesANewTopicOfTheName: a deletion by id must not delete a new topic that has
// the old name.
func TestDeletionByIDSparesANewTopicOfTheName(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	old := c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1})
	stale := c.loader.Image()
	c.admin.DeleteTopics(t.Context(), []TopicRef{{Name: "a"}})
	c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1})
	if err := c.admin.deleteTopic(t.Context(), stale, TopicRef{ID: old.ID}).Err; !errors.Is(err, ErrUnknownTopicID) {
		t.Errorf("deleted: %v", err)
	}
	if _, ok := c.loader.Image().TopicByName("a"); !ok {
		t.Error("the new topic is gone")
	}
}

func TestCreatePartitions(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1, 2)
	for _, grown := range []int32{3, 500} {
		name := fmt.Sprintf("to-%d", grown)
		old := c.create(t, TopicSpec{Name: name, Partitions: 2, ReplicationFactor: 2})
		result := c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: name, Count: grown}}, false)[0]
		topic, _ := c.loader.Image().TopicByName(name)
		if result.Err != nil || len(topic.Partitions) != int(grown) || topic.ID != old.ID || topic.Epoch != old.Epoch || result.Partitions != grown {
			t.Fatalf("%+v: %d partitions", result, len(topic.Partitions))
		}
		for n, p := range topic.Partitions {
			if len(p.Replicas) != 2 || p.Revision == 0 {
				t.Fatalf("partition %d: %+v", n, p)
			}
		}
	}
	result := c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: "to-3", Count: 4, Assignments: [][]int32{{2, 1}}}}, false)[0]
	if topic, _ := c.loader.Image().TopicByName("to-3"); result.Err != nil || topic.Partitions[3].Leader != 2 {
		t.Errorf("manual: %+v", result)
	}
	before := c.loader.Image().Revision
	specs := []PartitionsSpec{
		{Topic: "never", Count: 3},
		{Topic: "to-3", Count: 4},
		{Topic: "to-3", Count: 1},
		{Topic: "to-3", Count: -1},
		{Topic: "to-3", Count: 2_000_000_000},
		{Topic: "to-3", Count: 6, Assignments: [][]int32{{1, 2}}},
		{Topic: "to-3", Count: 5, Assignments: [][]int32{{1}}},
		{Topic: "to-3", Count: 5, Assignments: [][]int32{{1, 7}}},
	}
	want := []error{
		ErrUnknownTopic, ErrInvalidPartitions, ErrInvalidPartitions, ErrInvalidPartitions, ErrTooManyPartitions,
		ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment, ErrInvalidReplicaAssignment,
	}
	for i, result := range c.admin.CreatePartitions(t.Context(), specs, false) {
		if !errors.Is(result.Err, want[i]) {
			t.Errorf("%+v: %v, want %v", specs[i], result.Err, want[i])
		}
	}
	if result = c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: "to-3", Count: 9}}, true)[0]; result.Err != nil {
		t.Errorf("validate only: %v", result.Err)
	}
	if c.loader.Image().Revision != before {
		t.Error("something was written")
	}
}

// TestGrowthRaces: two additions of partitions and a deletion run concurrently. The topic is then
// whole and as large as the larger call wanted, or all its keys are deleted.
func TestGrowthRaces(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	for round := range 10 {
		name := fmt.Sprint("a", round)
		c.create(t, TopicSpec{Name: name, Partitions: 1, ReplicationFactor: 1})
		var wg sync.WaitGroup
		for _, count := range []int32{200, 300} {
			wg.Go(func() {
				err := c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: name, Count: count}}, false)[0].Err
				if err != nil && !errors.Is(err, ErrInvalidPartitions) && !errors.Is(err, ErrUnknownTopic) {
					t.Error(err)
				}
			})
		}
		if deleted := round%2 == 1; deleted {
			wg.Go(func() { c.admin.DeleteTopics(t.Context(), []TopicRef{{Name: name}}) })
			wg.Wait()
			if keys := kvtest.Keys(t, c.store, partitionsPrefix); len(keys) != 0 {
				t.Fatalf("%d keys are left of a deleted topic", len(keys))
			}
			continue
		}
		wg.Wait()
		topic, _ := c.loader.Image().TopicByName(name)
		if len(topic.Partitions) != 300 || topic.present != 300 {
			t.Fatalf("%d partitions, %d keys", len(topic.Partitions), topic.present)
		}
		c.admin.DeleteTopics(t.Context(), []TopicRef{{Name: name}})
	}
}

func TestUpdateConfigs(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.register(t, 1)
	c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"k": "1"}})
	set := func(key, value string) func(map[string]string) (map[string]string, error) {
		return func(m map[string]string) (map[string]string, error) { m[key] = value; return m, nil }
	}
	for _, r := range []ConfigResource{{Kind: TopicConfig, Topic: "a"}, {Kind: BrokerConfig, Broker: 1}, {Kind: DefaultBrokerConfig}} {
		if err := c.admin.UpdateConfigs(t.Context(), r, set("new", r.String())); err != nil {
			t.Error(err)
		}
	}
	image := c.loader.Image()
	if got := fmt.Sprint(image.TopicConfigs("a"), image.BrokerConfigs(1), image.DefaultBrokerConfigs()); got != "map[k:1 new:topic a] map[new:broker 1] map[new:all brokers]" {
		t.Error(got)
	}
	topic := ConfigResource{Kind: TopicConfig, Topic: "a"}
	refused := errors.New("invalid value")
	if err := c.admin.UpdateConfigs(t.Context(), topic, func(map[string]string) (map[string]string, error) { return nil, refused }); !errors.Is(err, refused) || errors.Unwrap(err) != nil {
		t.Errorf("refused: %v", err)
	}
	if err := c.admin.UpdateConfigs(t.Context(), topic, func(map[string]string) (map[string]string, error) { return nil, nil }); err != nil {
		t.Error(err)
	}
	if keys := kvtest.Keys(t, c.store, topicConfigsPrefix); len(keys) != 0 {
		t.Errorf("no settings, and %q", keys)
	}
	err := c.admin.UpdateConfigs(t.Context(), ConfigResource{Kind: TopicConfig, Topic: "never"}, set("a", "b"))
	if !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("an unknown topic: %v", err)
	}
}

// TestConcurrentConfigsAreAllKept: concurrent updates of one resource must not overwrite each
// other.
func TestConcurrentConfigsAreAllKept(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := ConfigResource{Kind: DefaultBrokerConfig}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := c.admin.UpdateConfigs(t.Context(), r, func(m map[string]string) (map[string]string, error) {
				m[fmt.Sprint(i)] = "x"
				return m, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := c.loader.Image().DefaultBrokerConfigs(); len(got) != 8 {
		t.Errorf("kept %v", got)
	}
}

// TestOvertakenConfigsStartOver: the settings change between the read and the write of another
// call.
func TestOvertakenConfigsStartOver(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := ConfigResource{Kind: BrokerConfig, Broker: 1}
	calls := 0
	add := func(key string) func(map[string]string) (map[string]string, error) {
		return func(m map[string]string) (map[string]string, error) { m[key] = "x"; return m, nil }
	}
	if err := c.admin.UpdateConfigs(t.Context(), r, add("first")); err != nil {
		t.Fatal(err)
	}
	err := c.admin.UpdateConfigs(t.Context(), r, func(m map[string]string) (map[string]string, error) {
		if calls++; calls == 1 {
			if err := c.admin.UpdateConfigs(t.Context(), r, add("other")); err != nil {
				t.Error(err)
			}
		}
		return add("mine")(m)
	})
	if got := fmt.Sprint(c.loader.Image().BrokerConfigs(1)); err != nil || calls != 2 || got != "map[first:x mine:x other:x]" {
		t.Errorf("%s after %d calls, %v", got, calls, err)
	}
}

func TestOvertakenProducerIDsStartOver(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	c := newCluster(t, s)
	if _, err := c.admin.AllocateProducerIDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	overtake, other := s.Txns()+1, ProducerIDs{}
	s.BeforeTxn = func(n int) (err error) {
		if n == overtake {
			other, err = c.admin.AllocateProducerIDs(t.Context())
		}
		return err
	}
	mine, err := c.admin.AllocateProducerIDs(t.Context())
	if err != nil || other.First != 1000 || mine.First != 2000 {
		t.Errorf("%+v and %+v, %v", other, mine, err)
	}
}

// TestProducerIDsAreGivenOnce: two brokers must never hand out the same producer id.
func TestProducerIDsAreGivenOnce(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	var mu sync.Mutex
	blocks := map[int64]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			block, err := c.admin.AllocateProducerIDs(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || block.Len != 1000 || block.First%1000 != 0 || blocks[block.First] {
				t.Errorf("%+v, %v", block, err)
			}
			blocks[block.First] = true
		})
	}
	wg.Wait()
	if !blocks[0] || !blocks[7000] {
		t.Errorf("blocks %v", blocks)
	}
}

func TestClusterIDIsDrawnOnce(t *testing.T) {
	s := kvtest.Open(t)
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			id, err := EnsureClusterID(t.Context(), s, nil)
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || len(id) != 22 {
			t.Fatalf("ids %q", ids)
		}
	}
	if got := newCluster(t, s).loader.Image().ClusterID; got != ids[0] {
		t.Errorf("the image says %q", got)
	}
}

func TestUnavailableStoreIsSaid(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	c := newCluster(t, s)
	c.register(t, 1)
	s.BeforeTxn = func(int) error { return fmt.Errorf("write: %w", kv.ErrUnavailable) }
	err := c.admin.CreateTopics(t.Context(), []TopicSpec{{Name: "a", Partitions: 1, ReplicationFactor: 1}}, false)[0].Err
	if !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), `create topic "a"`) {
		t.Error(err)
	}
	if _, err = c.admin.AllocateProducerIDs(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Error(err)
	}
}
