package metadata

import (
	"maps"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// TestAListLeavesUnreadableKeysAsTheyWere: a listed image shows damaged values as the image before
// had them, and nothing else of that image.
func TestAListLeavesUnreadableKeysAsTheyWere(t *testing.T) {
	id := TopicID{1}
	p := partitionValue{V: 1, Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{5}, Leader: 1, LeaderEpoch: 3, LeaderBrokerEpoch: 5, PartitionEpoch: 4}
	events := []kv.Event{
		put(brokerKey(1), brokerValue{Rack: "r"}, 5), put(knownKey(1), knownValue{Rack: "r", Features: Supported()}, 6),
		put(partitionKey(id, 0), p, 7), put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 1, CreatedMs: 77}, 8),
		put(topicConfigsPrefix+"a", configsValue{Configs: map[string]string{"k": "v"}}, 9),
		put(controllerKey, controllerValue{V: 1, Broker: 1, BrokerEpoch: 5}, 9), put(clusterIDKey, clusterIDValue{V: 1, ID: "c"}, 9),
		put(brokerConfigsPrefix+"1", configsValue{Configs: map[string]string{"k": "b"}}, 10),
		put(featuresKey, featuresValue{V: 1, Epoch: 70, Levels: map[string]int16{"metadata.version": 2}}, 10),
	}
	before := applied(t, events...)
	var damaged []kv.Event
	for _, e := range events {
		damaged = append(damaged, kv.Event{Pair: kv.Pair{Key: e.Key, Value: []byte("{"), CreateRevision: e.CreateRevision, ModRevision: 20}})
	}
	for _, key := range []string{topicKey("new"), partitionKey(TopicID{2}, 7), partitionKey(id, 5), "partitions/x", brokerKey(9), "brokers/x", topicConfigsPrefix + "new"} {
		damaged = append(damaged, kv.Event{Pair: kv.Pair{Key: key, Value: []byte("{"), ModRevision: 20}})
	}
	list, err := newImage().apply(kv.Batch{Revision: 10, Events: damaged})
	if err == nil {
		t.Fatal("all is well")
	}
	image := list.recall(before)
	if describe(image) != describe(before) {
		t.Errorf("recalled\n%s\nof\n%s", describe(image), describe(before))
	}
	topic, _ := image.TopicByName("a")
	if known := image.Known[1]; topic.CreatedMs() != 77 || !maps.Equal(known.Features, Supported()) {
		t.Errorf("the topic was created at %d, want 77; broker 1 supports %v, want %v", topic.CreatedMs(), known.Features, Supported())
	}
	if n := len(image.unreadable()); n != len(damaged) {
		t.Errorf("%d keys are unreadable, want %d", n, len(damaged))
	}
	if fresh := list.recall(newImage()); describe(fresh) != describe(list) || !fresh.Incomplete() {
		t.Errorf("at a start:\n%s", describe(fresh))
	}
}

// TestListRecalls: a value that became unreadable is recalled when the store is listed.
func TestListRecalls(t *testing.T) {
	store := kvtest.Open(t)
	l := NewLoader(LoaderOptions{Store: store, Logger: runtest.Logger(t)})
	for _, value := range [][]byte{encode(configsValue{V: 1, Configs: map[string]string{"k": "v"}}), []byte("{")} {
		if _, err := store.Txn(t.Context(), nil, kv.Put(topicConfigsPrefix+"a", value)); err != nil {
			t.Fatal(err)
		}
		if err := l.list(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if image := l.Image(); image.TopicConfigs("a")["k"] != "v" || !image.Incomplete() {
		t.Errorf("settings %v, incomplete %t", image.TopicConfigs("a"), image.Incomplete())
	}
}

// TestListNotesWhatIsMissing: no event of the topic's deletion was seen between two lists.
func TestListNotesWhatIsMissing(t *testing.T) {
	store := kvtest.Open(t)
	l := NewLoader(LoaderOptions{Store: store, Logger: runtest.Logger(t)})
	id := TopicID{1}
	for _, op := range []kv.Op{kv.Put(topicKey("a"), encode(topicValue{V: 1, ID: id})), kv.Delete(topicKey("a"))} {
		if _, err := store.Txn(t.Context(), nil, op); err != nil {
			t.Fatal(err)
		}
		if err := l.list(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if image := l.Image(); image.TopicCount() != 0 || !image.Vanished(id) {
		t.Errorf("topics %v, vanished %t", image.TopicNames(), image.Vanished(id))
	}
}
