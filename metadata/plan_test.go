package metadata

import (
	"encoding/json"
	"testing"
	"time"
)

func TestPlanElects(t *testing.T) {
	id := TopicID{1}
	const e1, e2 = 11, 12 // broker epochs
	live := func(ids ...int32) []Event {
		epochs := map[int32]int64{1: e1, 2: e2, 3: 13}
		events := make([]Event, 0, len(ids))
		for _, id := range ids {
			events = append(events, put(brokerKey(id), brokerValue{}, epochs[id]))
		}
		return events
	}
	for _, c := range []struct {
		name      string
		brokers   []Event
		partition partitionValue
		want      *partitionValue // nil: no change
	}{
		{
			"the leader is well", live(1, 2),
			partitionValue{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: e1, PartitionEpoch: 9},
			nil,
		},
		{
			"the leader registered anew", live(1, 2),
			partitionValue{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 5, PartitionEpoch: 9},
			&partitionValue{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1, LeaderEpoch: 5, LeaderBrokerEpoch: e1, PartitionEpoch: 10},
		},
		{
			"a follower registered anew", live(1, 2),
			partitionValue{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, Leader: 1, LeaderBrokerEpoch: e1},
			nil,
		},
		{
			"the leader is dead", live(2, 3),
			partitionValue{Replicas: []int32{1, 3, 2}, ISR: []int32{2, 1, 3}, Leader: 1, LeaderBrokerEpoch: e1, ELR: []int32{9}, Adding: []int32{8}},
			&partitionValue{Replicas: []int32{1, 3, 2}, ISR: []int32{2, 1, 3}, Leader: 3, LeaderEpoch: 1, LeaderBrokerEpoch: 13, PartitionEpoch: 1, ELR: []int32{9}, Adding: []int32{8}},
		},
		{
			"nobody led", live(1),
			partitionValue{Replicas: []int32{1}, ISR: []int32{1}, Leader: NoBroker},
			&partitionValue{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1, LeaderEpoch: 1, LeaderBrokerEpoch: e1, PartitionEpoch: 1},
		},
		{
			"a live replica is out of sync", live(2),
			partitionValue{Replicas: []int32{1, 2}, ISR: []int32{1}, Leader: 1, LeaderBrokerEpoch: e1},
			nil,
		},
		{
			"nobody lives", nil,
			partitionValue{Replicas: []int32{1}, ISR: []int32{1}, Leader: 1, LeaderBrokerEpoch: e1},
			nil,
		},
	} {
		image := applied(t, append(c.brokers,
			put(partitionKey(id, 0), c.partition, 20),
			put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 2}, 21))...) // partition 1 has no key
		changes := Plan(image, time.Now())
		if c.want == nil {
			if len(changes) != 0 {
				t.Errorf("%s: %+v", c.name, changes)
			}
			continue
		}
		c.want.V = 1
		want, _ := json.Marshal(c.want)
		if len(changes) != 1 || len(changes[0].Ops) != 1 || string(changes[0].Ops[0].Value) != string(want) ||
			changes[0].Ops[0].Key != partitionKey(id, 0) || changes[0].Guards[0].Key != partitionKey(id, 0) || changes[0].Guards[0].Revision != 20 {
			t.Errorf("%s: %+v\nwant %s", c.name, changes, want)
		}
		// What was planned is all there was to do.
		after, err := image.Apply(Batch{Revision: 30, Events: []Event{{KV: KV{Key: partitionKey(id, 0), Value: want, ModRevision: 30}}}})
		if err != nil || len(Plan(after, time.Now())) != 0 {
			t.Errorf("%s: planned again", c.name)
		}
	}
}

func TestPlanCleansUpBrokenCreations(t *testing.T) {
	id, now := TopicID{1}, time.UnixMilli(1_700_000_000_000)
	aged := func(d time.Duration) partitionValue {
		return partitionValue{V: 1, Leader: NoBroker, CreatedMs: now.Add(-d).UnixMilli()}
	}
	young, old := aged(creationGrace-time.Second), aged(creationGrace)
	pending := applied(t, put(partitionKey(id, 0), old, 20), put(partitionKey(id, 1), young, 21))
	if changes := Plan(pending, now); len(changes) != 0 {
		t.Errorf("a creation under way: %+v", changes)
	}
	pending = applied(t, put(partitionKey(id, 0), old, 20), put(partitionKey(id, 1), old, 21))
	changes := Plan(pending, now)
	if len(changes) != 1 || changes[0].Ops[0].Kind != OpDeletePrefix || changes[0].Ops[0].Key != "partitions/"+id.String()+"/" ||
		changes[0].Guards[0].Key != partitionKey(id, 0) || changes[0].Guards[0].Revision != 20 {
		t.Errorf("a creation that broke off: %+v", changes)
	}
	topic := put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 1, CreatedMs: 3}, 25)
	added := applied(t, put(partitionKey(id, 0), old, 20), put(partitionKey(id, 3), old, 21), topic)
	changes = Plan(added, now)
	if len(changes) != 1 || len(changes[0].Ops) != 2 || changes[0].Guards[0].Key != "topics/a" || changes[0].Guards[0].Revision != 25 ||
		string(changes[0].Ops[0].Value) != string(topic.Value) || changes[0].Ops[1].Key != partitionKey(id, 3) {
		t.Errorf("an addition that broke off: %+v", changes)
	}
	if changes = Plan(applied(t, put(partitionKey(id, 0), old, 20), topic), now); len(changes) != 0 {
		t.Errorf("a whole topic: %+v", changes)
	}
}

func TestGroupKeepsToTheLimit(t *testing.T) {
	changes := make([]Change, 300)
	for i := range changes {
		changes[i] = Change{Guards: []Comparison{Absent("a")}, Ops: []Op{Delete("a")}}
	}
	changes[150].Ops = make([]Op, MaxTxnOps)
	total := 0
	for _, g := range group(changes) {
		guards, ops := 1, 0
		for _, c := range g {
			guards += len(c.Guards)
			ops += len(c.Ops)
		}
		if guards > MaxTxnOps || ops > MaxTxnOps || len(g) == 0 {
			t.Errorf("%d comparisons and %d operations", guards, ops)
		}
		total += len(g)
	}
	if total != len(changes) {
		t.Errorf("%d changes of %d", total, len(changes))
	}
}
