package metadata

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata/kv"
)

func put(key string, value any, revision int64) kv.Event {
	return kv.Event{Pair: kv.Pair{Key: key, Value: encode(value), CreateRevision: revision, ModRevision: revision}}
}

func del(key string, revision int64) kv.Event {
	return kv.Event{Pair: kv.Pair{Key: key, ModRevision: revision}, Deleted: true}
}

// applied returns an empty image after events, each applied as its own batch.
func applied(t *testing.T, events ...kv.Event) *Image {
	t.Helper()
	image := newImage()
	for _, e := range events {
		next, err := image.apply(kv.Batch{Revision: e.ModRevision, Events: []kv.Event{e}})
		if err != nil {
			t.Fatal(err)
		}
		image = next
	}
	return image
}

func TestTopicExistsOnceItsNameDoes(t *testing.T) {
	id := TopicID{1}
	p := partitionValue{V: 1, Replicas: []int32{1}, ISR: []int32{1}, Leader: 1}
	image := applied(t, put(partitionKey(id, 1), p, 5), put(partitionKey(id, 0), p, 6))
	if _, ok := image.TopicByID(id); ok || image.TopicCount() != 0 {
		t.Fatal("partition keys alone make a topic")
	}
	image = applied(t,
		put(partitionKey(id, 1), p, 5), put(partitionKey(id, 0), p, 6), put(partitionKey(id, 2), p, 7),
		put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 2}, 8))
	topic, ok := image.TopicByName("a")
	if byID, ok2 := image.TopicByID(id); !ok || !ok2 || byID != topic {
		t.Fatal("the topic is not found by name and id")
	}
	if len(topic.Partitions) != 2 || topic.Partitions[1].Revision != 5 || topic.Epoch != 8 {
		t.Fatalf("topic %+v", topic)
	}
	if _, ok = image.Partition(TopicPartition{"a", 2}); ok {
		t.Error("a partition beyond the count is visible")
	}
	if _, ok = image.Partition(TopicPartition{"a", -1}); ok {
		t.Error("partition -1 exists")
	}
}

func TestDeletedTopicLeavesNothing(t *testing.T) {
	id := TopicID{1}
	image := applied(t,
		put(partitionKey(id, 0), partitionValue{}, 5),
		put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 1}, 6),
		put(topicConfigsPrefix+"a", configsValue{Configs: map[string]string{"x": "y"}}, 6),
		del(topicKey("a"), 7), del(topicConfigsPrefix+"a", 7))
	if _, ok := image.TopicByID(id); ok || image.byName.len() != 0 || image.TopicConfigs("a") != nil {
		t.Error("the topic is visible after its deletion")
	}
	if image.byID.len() != 1 {
		t.Error("the partition key that is left is forgotten")
	}
	image, err := image.apply(kv.Batch{Revision: 8, Events: []kv.Event{del(partitionKey(id, 0), 8)}})
	if err != nil || image.byID.len() != 0 {
		t.Errorf("left over: %v, %v", image.byID, err)
	}
}

func TestNameMovesToANewTopic(t *testing.T) {
	image := applied(t,
		put(partitionKey(TopicID{1}, 0), partitionValue{}, 5),
		put(topicKey("a"), topicValue{V: 1, ID: TopicID{1}, Partitions: 1}, 6),
		put(topicKey("a"), topicValue{V: 1, ID: TopicID{2}, Partitions: 1}, 7))
	if topic, _ := image.TopicByName("a"); topic.ID != (TopicID{2}) {
		t.Errorf("the name stands for %v", topic.ID)
	}
	if _, ok := image.TopicByID(TopicID{1}); ok {
		t.Error("the old topic is there")
	}
}

func TestUnreadableValuesLeaveTheRestIntact(t *testing.T) {
	before := applied(t, put(brokerKey(1), brokerValue{Rack: "r"}, 5))
	bad := func(key, value string) kv.Event {
		return kv.Event{Pair: kv.Pair{Key: key, Value: []byte(value), ModRevision: 6, CreateRevision: 6}}
	}
	after, err := before.apply(kv.Batch{Revision: 6, Events: []kv.Event{
		bad(brokerKey(1), "{"), bad("brokers/x", "{}"), bad("brokers/01", "{}"), bad(topicKey("a"), "[]"), bad(topicKey("b"), `{"partitions":-1}`),
		bad(topicKey("c"), `{"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":2000000000}`),
		bad("partitions/x/1", "{}"), bad(partitionKey(TopicID{1}, 1), "{"), bad(partitionsPrefix+TopicID{1}.String()+"/2000000000", "{}"),
		bad("controller", "x"), bad("cluster-id", ""), bad(topicConfigsPrefix+"a", "1"),
		put(brokerKey(2), brokerValue{}, 6), bad("tier/anything", "at all"), bad("later/version", ""),
	}})
	if err == nil || strings.Count(err.Error(), "\n") != 11 {
		t.Errorf("errors: %v", err)
	}
	if len(after.Brokers) != 2 || after.Brokers[1].Rack != "r" || after.Revision != 6 || after.TopicCount() != 0 || after.byID.len() != 0 {
		t.Errorf("image %+v", after)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	image, err := newImage().apply(kv.Batch{Revision: 2, Events: []kv.Event{
		{Pair: kv.Pair{Key: "cluster-id", Value: []byte(`{"v":1,"id":"x","more":[1]}`), ModRevision: 2}},
	}})
	if err != nil || image.ClusterID != "x" {
		t.Errorf("%v, %v", image.ClusterID, err)
	}
}

func TestConfigsOfTopicsAndBrokers(t *testing.T) {
	image := applied(t,
		put(topicConfigsPrefix+"a", configsValue{Configs: map[string]string{"k": "t"}}, 5),
		put(brokerConfigsPrefix+"1", configsValue{Configs: map[string]string{"k": "b"}}, 6),
		put(brokerConfigsPrefix+"default", configsValue{Configs: map[string]string{"k": "d"}}, 7),
		put(brokerConfigsPrefix+"2", configsValue{}, 8))
	got := fmt.Sprint(image.TopicConfigs("a"), image.BrokerConfigs(1), image.DefaultBrokerConfigs(), image.BrokerConfigs(2), image.TopicConfigs("b"))
	if got != "map[k:t] map[k:b] map[k:d] map[] map[]" {
		t.Error(got)
	}
}

func TestLeaderIsAnIncarnation(t *testing.T) {
	image := applied(t, put(brokerKey(1), brokerValue{}, 5))
	for epoch, live := range map[int64]bool{5: true, 4: false} {
		if _, ok := image.Leader(&Partition{Leader: 1, LeaderBrokerEpoch: epoch}); ok != live {
			t.Errorf("elected at broker epoch %d: live %t", epoch, ok)
		}
	}
	if _, ok := image.Leader(&Partition{Leader: NoBroker}); ok {
		t.Error("nobody leads")
	}
}

// describe prints everything in an image that readers and Plan can see.
func describe(m *Image) string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Revision, m.ClusterID, m.ControllerID, m.ControllerEpoch, m.ControllerBrokerEpoch, m.Features)
	for _, id := range m.BrokerIDs() {
		fmt.Fprintf(&b, "%+v\n", m.Brokers[id])
	}
	topics := slices.SortedFunc(maps.Values(maps.Collect(m.byID.all())), func(a, b *Topic) int { return slices.Compare(a.ID[:], b.ID[:]) })
	for _, t := range topics {
		fmt.Fprintf(&b, "%s %s %d %d", t.Name, t.ID, t.Epoch, t.Revision)
		for n, p := range t.all {
			if p.Revision != 0 || n < len(t.Partitions) {
				fmt.Fprintf(&b, " %d:%+v", n, *p)
			}
		}
		fmt.Fprintf(&b, " of which %d\n", len(t.Partitions))
		if named, _ := m.byName.get(t.Name); t.Name != "" && named != t {
			fmt.Fprintln(&b, "name and id disagree")
		}
	}
	fmt.Fprintln(&b, m.TopicNames(), maps.Collect(m.topicConfigs.all()), m.brokerConfigs, m.unfinished)
	return b.String()
}

// TestImageModel applies random batches. The image must equal one that is made from a list of all
// keys, and images made before must not change.
func TestImageModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := []string{"controller", "tier/x", brokerKey(1), brokerKey(2), topicKey("a"), topicKey("b"), topicConfigsPrefix + "a", brokerConfigsPrefix + "1", unfinishedKey(TopicID{1})}
		for topic := range 3 {
			for n := range int32(3) {
				keys = append(keys, partitionKey(TopicID{byte(topic)}, n))
			}
		}
		value := func(key string, n int) any {
			switch {
			case strings.HasPrefix(key, topicsPrefix):
				return topicValue{V: 1, ID: TopicID{byte(n % 3)}, Partitions: int32(n % 4)}
			case strings.HasPrefix(key, partitionsPrefix):
				return partitionValue{V: 1, Leader: int32(n)}
			case strings.HasPrefix(key, brokersPrefix):
				return brokerValue{Rack: fmt.Sprint(n)}
			case strings.HasPrefix(key, unfinishedPrefix):
				return unfinishedValue{First: int32(n)}
			case strings.HasPrefix(key, "configs/"):
				return configsValue{Configs: map[string]string{"n": fmt.Sprint(n)}}
			default:
				return controllerValue{Broker: int32(n)}
			}
		}
		state := map[string]kv.Pair{}
		image, revision := newImage(), int64(1)
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			old, oldText := image, describe(image)
			var events []kv.Event
			for range rapid.IntRange(1, 6).Draw(t, "events") {
				revision++
				key := rapid.SampledFrom(keys).Draw(t, "key")
				n := rapid.IntRange(0, 11).Draw(t, "n")
				pair, exists := state[key]
				switch {
				case exists && n == 0:
					delete(state, key)
					events = append(events, del(key, revision))
				case strings.HasPrefix(key, topicsPrefix) && (exists || slices.ContainsFunc(slices.Collect(maps.Values(state)), func(o kv.Pair) bool {
					return strings.HasPrefix(o.Key, topicsPrefix) && o.Key != key && strings.Contains(string(o.Value), TopicID{byte(n % 3)}.String())
				})):
					continue // a topic id has one name, and a name is deleted before it is reused
				default:
					if !exists {
						pair = kv.Pair{Key: key, CreateRevision: revision}
					}
					pair.ModRevision, pair.Value = revision, encode(value(key, n))
					state[key] = pair
					events = append(events, kv.Event{Pair: pair})
				}
			}
			next, err := image.apply(kv.Batch{Revision: revision, Events: events})
			if err != nil {
				t.Fatal(err)
			}
			if describe(old) != oldText {
				t.Fatalf("an old image changed from\n%s to\n%s", oldText, describe(old))
			}
			image = next
			all := make([]kv.Event, 0, len(state))
			for _, key := range slices.Sorted(maps.Keys(state)) {
				all = append(all, kv.Event{Pair: state[key]})
			}
			fresh, err := newImage().apply(kv.Batch{Revision: revision, Events: all})
			if err != nil {
				t.Fatal(err)
			}
			if describe(fresh) != describe(image) {
				t.Fatalf("step by step:\n%s at once:\n%s", describe(image), describe(fresh))
			}
		}
	})
}

func TestPartitionRoundTrip(t *testing.T) {
	p := Partition{
		Replicas: []int32{1, 2}, ISR: []int32{2}, ISREpochs: []int64{9}, Adding: []int32{3}, Removing: []int32{1}, ELR: []int32{4}, ELREpochs: []int64{8},
		Leader: 2, LeaderEpoch: 3, LeaderBrokerEpoch: 4, PartitionEpoch: 5, Revision: 6, createdMs: 7,
	}
	back, err := decodePartition(kv.Pair{Value: p.encode(), ModRevision: 6})
	if err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("%+v, %v", back, err)
	}
}

// FuzzApply: no key and no value may panic or allocate without bound.
func FuzzApply(f *testing.F) {
	f.Add("topics/a", []byte(`{"v":1,"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":3}`))
	f.Add("partitions/AQIDBAUGBwgJCgsMDQ4PEA/1", []byte(`{"v":1,"replicas":[1],"leader":1}`))
	f.Add("brokers/1", []byte(`{"listeners":[{"port":1}]}`))
	f.Add("controller", []byte(`{"broker":1}`))
	f.Add("configs/topics/a", []byte(`{"configs":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		image, _ := newImage().apply(kv.Batch{Revision: 2, Events: []kv.Event{{Pair: kv.Pair{Key: key, Value: value, CreateRevision: 2, ModRevision: 2}}}})
		again, _ := image.apply(kv.Batch{Revision: 3, Events: []kv.Event{del(key, 3)}})
		if again.TopicCount() != 0 || len(again.Brokers) != 0 {
			t.Fatal("deleted, and there")
		}
	})
}
