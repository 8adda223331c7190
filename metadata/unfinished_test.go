package metadata

import (
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
)

func TestCleanUpsOfBrokenCreations(t *testing.T) {
	id, p := TopicID{1}, partitionValue{V: 1, Leader: NoBroker}
	marker := func(v unfinishedValue) kv.Event { return put(unfinishedKey(id), v, 19) }
	pending := applied(t, marker(unfinishedValue{}), put(partitionKey(id, 0), p, 20), put(partitionKey(id, 1), p, 21))
	for _, seen := range []map[TopicID]int64{nil, {id: 18}} {
		if changes := pending.CleanUps(seen); len(changes) != 0 {
			t.Errorf("a creation under way: %+v", changes)
		}
	}
	changes := pending.CleanUps(map[TopicID]int64{id: 19})
	if len(changes) != 1 || changes[0].Ops[0].Kind != kv.OpDelete || changes[0].Ops[1].Kind != kv.OpDeletePrefix ||
		changes[0].Ops[1].Key != "partitions/"+id.String()+"/" || !slices.Equal(keysOf(changes[0].Guards), []string{unfinishedKey(id)}) {
		t.Errorf("a creation that broke off: %+v", changes)
	}
	if changes = applied(t, marker(unfinishedValue{Broken: true})).CleanUps(nil); len(changes) != 1 {
		t.Errorf("a creation that gave up: %+v", changes)
	}
	topic := put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 1, CreatedMs: 3}, 25)
	added := applied(t, marker(unfinishedValue{First: 1}), put(partitionKey(id, 0), p, 20), put(partitionKey(id, 3), p, 21), topic)
	changes = added.CleanUps(map[TopicID]int64{id: 19})
	if len(changes) != 1 || len(changes[0].Ops) != 2 || changes[0].Ops[0].Key != partitionKey(id, 3) || changes[0].Ops[1].Key != unfinishedKey(id) ||
		!slices.Equal(keysOf(changes[0].Guards), []string{unfinishedKey(id), "topics/a"}) {
		t.Errorf("an addition that broke off: %+v", changes)
	}
}

func keysOf(comparisons []kv.Comparison) []string {
	var keys []string
	for _, c := range comparisons {
		keys = append(keys, c.Key)
	}
	return keys
}

// TestNothingIsCleanedUpOnAnIncompleteImage: a creation broke off, and another key cannot be read.
func TestNothingIsCleanedUpOnAnIncompleteImage(t *testing.T) {
	id := TopicID{1}
	broken := put(unfinishedKey(id), unfinishedValue{Broken: true}, 19)
	image, err := applied(t, broken).apply(kv.Batch{Revision: 20, Events: []kv.Event{
		{Pair: kv.Pair{Key: topicKey("a"), Value: []byte("{"), ModRevision: 20}},
	}})
	if err == nil || len(image.CleanUps(nil)) != 0 {
		t.Errorf("%v, planned %+v", err, image.CleanUps(nil))
	}
}

func TestUnreadableKeysAreRemembered(t *testing.T) {
	bad := func(key string, revision int64) kv.Event {
		return kv.Event{Pair: kv.Pair{Key: key, Value: []byte("["), ModRevision: revision}}
	}
	id := TopicID{1}
	image := newImage()
	step := func(events ...kv.Event) string {
		image, _ = image.apply(kv.Batch{Revision: image.Revision + 1, Events: events})
		keys := []string{}
		for _, k := range image.unreadable() {
			keys = append(keys, k.Key)
		}
		if image.Incomplete() != (len(keys) > 0) {
			t.Errorf("incomplete %t with %v", image.Incomplete(), keys)
		}
		return strings.Join(keys, " ")
	}
	for i, s := range []struct {
		events []kv.Event
		want   string
	}{
		{[]kv.Event{bad("topics/a", 1), bad("brokers/x", 1), bad("later/version", 1)}, "brokers/x topics/a"},
		{[]kv.Event{put("topics/b", topicValue{ID: id}, 2)}, "brokers/x topics/a"},
		{[]kv.Event{del("brokers/x", 3)}, "topics/a"},
		{[]kv.Event{bad("topics/a", 4), bad("configs/topics/b", 4)}, "configs/topics/b topics/a"},
		{[]kv.Event{put("topics/a", topicValue{ID: TopicID{2}}, 5)}, "configs/topics/b"},
		{[]kv.Event{del("configs/topics/b", 6)}, ""},
	} {
		before := image
		was := len(before.unreadable())
		if got := step(s.events...); got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
		if len(before.unreadable()) != was {
			t.Errorf("step %d: the image before has changed", i)
		}
		unread := strings.Contains(s.want, "configs/topics/b")
		if image.SettingsUnreadable("b", 1) != unread || image.SettingsUnreadable("a", 1) {
			t.Errorf("step %d: settings of b unreadable: %t", i, !unread)
		}
	}
}

// TestTopicsThatAListLacksHaveVanished: a deletion that was watched differs from a topic that is
// missing in a list.
func TestTopicsThatAListLacksHaveVanished(t *testing.T) {
	a, b := TopicID{1}, TopicID{2}
	before := applied(t, put("topics/a", topicValue{ID: a}, 2), put("topics/b", topicValue{ID: b}, 3), del("topics/a", 4))
	if before.Vanished(a) {
		t.Error("a watched deletion")
	}
	list := newImage()
	list.noteMissing(before)
	if list.Vanished(a) || !list.Vanished(b) {
		t.Errorf("vanished: a %t, b %t", list.Vanished(a), list.Vanished(b))
	}
	next, err := list.apply(kv.Batch{Revision: 9, Events: []kv.Event{put("topics/c", topicValue{ID: TopicID{3}}, 9)}})
	if err != nil || !next.Vanished(b) {
		t.Error("it is forgotten")
	}
	still := newImage()
	if still.noteMissing(next); !still.Vanished(b) {
		t.Error("the next list forgets it")
	}
	again := applied(t, put("topics/b", topicValue{ID: b}, 10))
	again.noteMissing(next)
	if again.Vanished(b) {
		t.Error("it is back")
	}
}
