package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// unknownFields draws fields that a newer build might store.
var unknownFields = rapid.Custom(func(t *rapid.T) map[string]any {
	value := rapid.OneOf(
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any](map[string]any{"a": []any{"}", 1.0}}),
		rapid.Map(rapid.String(), func(s string) any { return s }),
		rapid.Map(rapid.IntRange(-1000, 1000), func(n int) any { return float64(n) }))
	return rapid.MapOfN(rapid.StringMatching(`x_[a-z"\\é]{1,6}`), value, 1, 4).Draw(t, "fields")
})

// addFields returns the value as a newer build would have written it.
func addFields(t *testing.T, object []byte, fields map[string]any) []byte {
	t.Helper()
	all := map[string]any{}
	if err := json.Unmarshal(object, &all); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, fields)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// missingField returns a field that a value should have but does not.
func missingField(t *testing.T, object []byte, fields map[string]any) (string, bool) {
	t.Helper()
	all := map[string]any{}
	if err := json.Unmarshal(object, &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range fields {
		if got, ok := all[name]; !ok || !reflect.DeepEqual(got, want) {
			return name, true
		}
	}
	return "", false
}

// stored is a cluster with a stored value of every kind, and its brokers.
type stored struct {
	t *testing.T
	c *cluster
	r []*Registration
}

// writePath is one way in which a broker rewrites a value that another one may have written.
type writePath struct {
	name string
	keys func(*Topic) []string // the keys that it rewrites
	do   func(s *stored) error
}

func ofPartition(topic *Topic) []string { return []string{partitionKey(topic.ID, 0)} }

func ofTopic(topic *Topic) []string { return []string{topicKey(topic.Name)} }

func key(name string) func(*Topic) []string {
	return func(*Topic) []string { return []string{name} }
}

// writeFrom writes the repairs that the image calls for.
func writeFrom(ctx context.Context, c *cluster, o repairOptions) error {
	changes := repairs(c.loader.Image(), o).Changes
	revision, errs := WriteAll(ctx, c.store, nil, changes)
	_, err := c.loader.WaitRevision(ctx, revision)
	return errors.Join(append(errs, err)...)
}

// shrunk removes broker 3 from the ISR of a-0, as its leader does.
func shrunk(ctx context.Context, c *cluster) error {
	image := c.loader.Image()
	topic, _ := image.TopicByName("a")
	p := topic.Partitions[0]
	isr := slices.DeleteFunc(p.Members(), func(m Member) bool { return m.Broker == 3 })
	self, _ := image.member(p.Leader)
	return errors.Join(c.admin.AlterISR(ctx, self, []ISRChange{{
		TopicID: topic.ID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: isr,
	}})...)
}

// ledBySecond makes a replica other than the preferred one lead a-0.
func ledBySecond(t *testing.T, c *cluster) {
	t.Helper()
	topic := c.topic("a")
	next := *topic.Partitions[0]
	next.elect(next.Members()[1])
	revision, err := c.store.Txn(t.Context(), nil, kv.Put(partitionKey(topic.ID, 0), next.encode()))
	if err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return m.Revision >= revision })
}

var writePaths = []writePath{
	{"AlterISR", ofPartition, func(s *stored) error { return shrunk(s.t.Context(), s.c) }},
	{"repair", ofPartition, func(s *stored) error {
		if err := s.r[0].Deregister(s.t.Context()); err != nil {
			return err
		}
		s.c.wait(s.t, func(m *Image) bool { return len(m.Brokers) == 2 })
		return writeFrom(s.t.Context(), s.c, repairOptions{})
	}},
	{"the balance of leaders", ofPartition, func(s *stored) error {
		ledBySecond(s.t, s.c)
		return writeFrom(s.t.Context(), s.c, repairOptions{Rebalance: true})
	}},
	{"ElectLeaders", ofPartition, func(s *stored) error {
		ledBySecond(s.t, s.c)
		return errors.Join(s.c.admin.ElectLeaders(s.t.Context(), PreferredElection, []TopicPartition{{Topic: "a"}})...)
	}},
	{"a reassignment", ofPartition, func(s *stored) error {
		at := TopicPartition{Topic: "a"}
		begin := Reassignment{TopicPartition: at, Replicas: []int32{1, 2}, AllowFactorChange: true}
		if err := errors.Join(s.c.admin.AlterPartitionReassignments(s.t.Context(), []Reassignment{begin})...); err != nil {
			return err
		}
		if err := errors.Join(s.c.admin.AlterPartitionReassignments(s.t.Context(), []Reassignment{{TopicPartition: at, Cancel: true}})...); err != nil {
			return err
		}
		if err := errors.Join(s.c.admin.AlterPartitionReassignments(s.t.Context(), []Reassignment{begin})...); err != nil {
			return err
		}
		return writeFrom(s.t.Context(), s.c, repairOptions{})
	}},
	{"CreatePartitions", ofTopic, func(s *stored) error {
		return s.c.admin.CreatePartitions(s.t.Context(), []PartitionsSpec{{Topic: "a", Count: 2}}, false)[0].Err
	}},
	{"UpdateConfigs", key(topicConfigsPrefix + "a"), func(s *stored) error {
		return configure(s.t.Context(), s.c, ConfigResource{Kind: TopicConfig, Topic: "a"}, map[string]string{"k": "2"})
	}},
	{"UpdateConfigs to the defaults", key(topicConfigsPrefix + "a"), func(s *stored) error {
		return configure(s.t.Context(), s.c, ConfigResource{Kind: TopicConfig, Topic: "a"}, nil)
	}},
	{"UpdateConfigs of brokers", key(brokerConfigsPrefix + defaultBroker), func(s *stored) error {
		return configure(s.t.Context(), s.c, ConfigResource{Kind: DefaultBrokerConfig}, map[string]string{"k": "2"})
	}},
	{"AllocateProducerIDs", key(producerIDsKey), func(s *stored) error {
		_, err := s.c.admin.AllocateProducerIDs(s.t.Context())
		return err
	}},
	{"Register", key(knownKey(3)), func(s *stored) error {
		_, err := s.r[2].Register(s.t.Context())
		return err
	}},
	{"Register and the features", key(featuresKey), func(s *stored) error {
		_, err := s.r[2].Register(s.t.Context())
		return err
	}},
	{"UpdateFeatures", key(featuresKey), func(s *stored) error {
		return errors.Join(s.c.admin.UpdateFeatures(s.t.Context(), []FeatureUpdate{{Name: "test.version", Level: 1, Type: Upgrade}}, false)...)
	}},
}

func configure(ctx context.Context, c *cluster, r ConfigResource, to map[string]string) error {
	return c.admin.UpdateConfigs(ctx, r, func(map[string]string) (map[string]string, error) { return to, nil })
}

// storedCluster returns a cluster of three brokers, with a value of every kind that is rewritten.
func storedCluster(t *testing.T) (*cluster, []*Registration) {
	t.Helper()
	store := kvtest.Open(t)
	if _, err := EnsureClusterID(t.Context(), store, nil); err != nil {
		t.Fatal(err)
	}
	features := map[string]FeatureRange{VarveVersion: {Min: 1, Max: 1}, "test.version": {Max: 1}}
	c := newClusterOf(t, store, features)
	r := c.registerWith(t, features, 1, 2, 3)
	c.create(t, TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2, 3}}, Configs: map[string]string{"k": "1"}})
	c.create(t, TopicSpec{Name: "b", Assignments: map[int32][]int32{0: {2, 1}}})
	if err := configure(t.Context(), c, ConfigResource{Kind: DefaultBrokerConfig}, map[string]string{"k": "1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.admin.AllocateProducerIDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, r
}

// registerWith registers brokers that support these features.
func (c *cluster) registerWith(t *testing.T, features map[string]FeatureRange, ids ...int32) []*Registration {
	t.Helper()
	var all []*Registration
	for _, id := range ids {
		r := c.registration(t, id, fmt.Sprint("directory ", id), "")
		r.self.Features = features
		epoch, err := r.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return m.Brokers[id].Epoch == epoch })
		all = append(all, r)
	}
	return all
}

// TestWritePathsKeepUnknownFields: a newer broker has added fields to all stored values. No write
// of this build drops one.
func TestWritePathsKeepUnknownFields(t *testing.T) {
	for seed := range 5 {
		fields := unknownFields.Example(seed)
		for _, path := range writePaths {
			t.Run(fmt.Sprintf("%s/%d", path.name, seed), func(t *testing.T) {
				c, r := storedCluster(t)
				before := addFieldsToAll(t, c, fields)
				topic := c.topic("a")
				if err := path.do(&stored{t, c, r}); err != nil {
					t.Fatal(err)
				}
				for _, name := range path.keys(topic) {
					pair, err := c.store.Get(t.Context(), name)
					if err != nil || pair.ModRevision <= before {
						t.Fatalf("%s is not rewritten: %v", name, err)
					}
				}
				checkFields(t, c, before, fields)
			})
		}
	}
}

// addFieldsToAll adds fields to every value except those that live only as long as the process that
// wrote them. It returns the revision at which all have them.
func addFieldsToAll(t *testing.T, c *cluster, fields map[string]any) int64 {
	t.Helper()
	kvs, revision, err := c.store.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range kvs {
		if strings.HasPrefix(pair.Key, brokersPrefix) || pair.Key == controllerKey {
			continue
		}
		if revision, err = c.store.Txn(t.Context(), nil, kv.Put(pair.Key, addFields(t, pair.Value, fields))); err != nil {
			t.Fatal(err)
		}
	}
	c.wait(t, func(m *Image) bool { return m.Revision >= revision })
	return revision
}

// checkFields checks all keys that had the fields and still exist.
func checkFields(t *testing.T, c *cluster, before int64, fields map[string]any) {
	t.Helper()
	kvs, _, err := c.store.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range kvs {
		if pair.CreateRevision > before || strings.HasPrefix(pair.Key, brokersPrefix) {
			continue
		}
		if name, lost := missingField(t, pair.Value, fields); lost {
			t.Errorf("%s has lost %q: %s", pair.Key, name, pair.Value)
		}
	}
}

// TestEveryValueKeepsAndChecks: every type of value keeps its unknown fields, and rejects a version
// that is too new, whatever else the value holds.
func TestEveryValueKeepsAndChecks(t *testing.T) {
	for name, c := range map[string]func(kv.Pair) (any, error){
		"topic":        func(pair kv.Pair) (any, error) { return decode[topicValue](pair) },
		"partition":    func(pair kv.Pair) (any, error) { return decode[partitionValue](pair) },
		"broker":       func(pair kv.Pair) (any, error) { return decode[brokerValue](pair) },
		"known":        func(pair kv.Pair) (any, error) { return decode[knownValue](pair) },
		"controller":   func(pair kv.Pair) (any, error) { return decode[controllerValue](pair) },
		"configs":      func(pair kv.Pair) (any, error) { return decode[configsValue](pair) },
		"cluster id":   func(pair kv.Pair) (any, error) { return decode[clusterIDValue](pair) },
		"features":     func(pair kv.Pair) (any, error) { return decode[featuresValue](pair) },
		"producer ids": func(pair kv.Pair) (any, error) { return decode[producerIDsValue](pair) },
	} {
		value, err := c(kv.Pair{Value: []byte(`{"v":1,"x":[{"y":"z"}]}`)})
		if err != nil || !strings.HasSuffix(string(encode(value)), `,"x":[{"y":"z"}]}`) {
			t.Errorf("%s: %s, %v", name, encode(value), err)
		}
		for _, text := range []string{`{"v":2}`, `{"isr":1,"partitions":"many","listeners":0,"configs":[],"broker":"1","id":0,"levels":1,"next":[],"v":2}`} {
			_, err = c(kv.Pair{Key: "some/key", ModRevision: 9, Value: []byte(text)})
			if !errors.Is(err, ErrValueTooNew) || !strings.Contains(err.Error(), "some/key at revision 9") || !strings.Contains(err.Error(), "version 2") ||
				!strings.Contains(err.Error(), VarveVersion) {
				t.Errorf("%s: %s: %v", name, text, err)
			}
		}
	}
}

// TestValueThatIsTooNewIsNotAbsent: the image keeps the state before a value that is too new.
func TestValueThatIsTooNewIsNotAbsent(t *testing.T) {
	before := applied(t, put(topicKey("a"), topicValue{V: 1, ID: TopicID{1}, Partitions: 1}, 5), put(partitionKey(TopicID{1}, 0), partitionValue{V: 1, Leader: 3}, 5))
	after, err := before.apply(kv.Batch{Revision: 6, Events: []kv.Event{
		{Pair: kv.Pair{Key: partitionKey(TopicID{1}, 0), Value: []byte(`{"v":2,"leader":4}`), ModRevision: 6}},
	}})
	if p, _ := after.Partition(TopicPartition{Topic: "a"}); !errors.Is(err, ErrValueTooNew) || p == nil || p.Leader != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}
