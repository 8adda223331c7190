package metadata

import (
	"encoding/json"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
)

// repairCase is one partition before and after a plan. Brokers that are not listed are dead.
type repairCase struct {
	name    string
	brokers map[int32]brokerValue
	epochs  map[int32]int64 // of the brokers whose epoch is not 10 + id
	before  partitionValue
	want    *partitionValue // nil: no change
	options repairOptions
}

func (c repairCase) run(t *testing.T) {
	t.Helper()
	id := TopicID{1}
	var events []kv.Event
	for b := range int32(5) {
		if value, ok := c.brokers[b]; ok {
			epoch := 10 + int64(b)
			if other, ok := c.epochs[b]; ok {
				epoch = other
			}
			events = append(events, put(brokerKey(b), value, epoch))
		}
	}
	image := applied(t, append(events, put(partitionKey(id, 0), c.before, 40),
		// Partition 1 has no key.
		put(topicKey("a"), topicValue{V: 1, ID: id, Partitions: 2}, 41))...)
	changes := repairs(image, c.options).Changes
	if c.want == nil {
		if len(changes) != 0 {
			t.Errorf("%s: %+v %s", c.name, changes, changes[0].Ops[0].Value)
		}
		return
	}
	c.want.V = 1
	want, _ := json.Marshal(c.want)
	if len(changes) != 1 || len(changes[0].Ops) != 1 || string(changes[0].Ops[0].Value) != string(want) || changes[0].Reason == "" ||
		changes[0].Ops[0].Key != partitionKey(id, 0) || changes[0].Guards[0].Key != partitionKey(id, 0) || changes[0].Guards[0].Revision != 40 {
		t.Errorf("%s: %+v\nwant %s", c.name, changes, want)
		if len(changes) == 1 {
			t.Errorf("got  %s", changes[0].Ops[0].Value)
		}
	}
	// The plan was complete: nothing is left to do.
	after, err := image.apply(kv.Batch{Revision: 50, Events: []kv.Event{{Pair: kv.Pair{Key: partitionKey(id, 0), Value: want, ModRevision: 50}}}})
	if err != nil || len(repairs(after, c.options).Changes) != 0 {
		t.Errorf("%s: planned again", c.name)
	}
}

// up returns live brokers without special properties.
func up(ids ...int32) map[int32]brokerValue {
	brokers := map[int32]brokerValue{}
	for _, id := range ids {
		brokers[id] = brokerValue{}
	}
	return brokers
}

// mayLead allows unclean elections, with the log ends that the replicas of partition 0 have
// returned.
func mayLead(ends LogEnds) repairOptions {
	return repairOptions{
		UncleanElection: func(*Image, string) bool { return true },
		LogEnds:         map[TopicPartition]LogEnds{{Topic: "a"}: ends},
	}
}

var min2 = repairOptions{MinISR: func(*Image, string) int { return 2 }}

func TestRepairElects(t *testing.T) {
	two := []int32{1, 2}
	for _, c := range []repairCase{
		{
			name: "all is well", brokers: up(1, 2),
			before: partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9},
		},
		{
			name: "the leader registered again", brokers: up(1, 2), epochs: map[int32]int64{1: 15},
			before: partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9},
			want:   &partitionValue{Replicas: two, ISR: []int32{2}, ISREpochs: []int64{12}, Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 10},
		},
		{
			name: "the only replica registered again", brokers: up(1), epochs: map[int32]int64{1: 15},
			before: partitionValue{Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9},
			want:   &partitionValue{Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{15}, Leader: 1, LeaderEpoch: 5, LossyEpoch: 5, LeaderBrokerEpoch: 15, PartitionEpoch: 10},
		},
		{
			name: "a state from before the epochs", brokers: up(1, 2),
			before: partitionValue{Replicas: []int32{2, 1}, ISR: two, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 7, PartitionEpoch: 9},
			want:   &partitionValue{Replicas: []int32{2, 1}, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderEpoch: 5, LossyEpoch: 5, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
		{
			name: "a follower registered again", brokers: up(1, 2), epochs: map[int32]int64{2: 15},
			before: partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderBrokerEpoch: 11},
			want:   &partitionValue{Replicas: two, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderBrokerEpoch: 11, PartitionEpoch: 1},
		},
		{
			name: "the leader is dead", brokers: up(2, 3),
			before: partitionValue{Replicas: []int32{1, 3, 2}, ISR: []int32{2, 1, 3}, ISREpochs: []int64{12, 11, 13}, Leader: 1, LeaderBrokerEpoch: 11},
			want:   &partitionValue{Replicas: []int32{1, 3, 2}, ISR: []int32{2, 3}, ISREpochs: []int64{12, 13}, Leader: 3, LeaderEpoch: 1, LeaderBrokerEpoch: 13, PartitionEpoch: 1},
		},
		{
			name: "nobody led", brokers: up(1),
			before: partitionValue{Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: NoBroker},
			want:   &partitionValue{Replicas: []int32{1}, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderEpoch: 1, LeaderBrokerEpoch: 11, PartitionEpoch: 1},
		},
		{
			name: "a live replica is out of sync", brokers: up(2),
			before: partitionValue{Replicas: two, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderBrokerEpoch: 11},
		},
		{
			name: "a live replica is out of sync, and may lead", brokers: up(2), options: mayLead(LogEnds{{Broker: 2, Epoch: 12}: {}}),
			before: partitionValue{Replicas: two, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderBrokerEpoch: 11},
			want:   &partitionValue{Replicas: two, ISR: []int32{2}, ISREpochs: []int64{12}, Leader: 2, LeaderBrokerEpoch: 12, LeaderEpoch: 1, UncleanEpoch: 1, LossyEpoch: 1, PartitionEpoch: 1},
		},
		{
			name: "it may lead, and has not been asked", brokers: up(2), options: mayLead(nil),
			before: partitionValue{Replicas: two, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderBrokerEpoch: 11},
		},
		{
			name: "it may lead, and does not answer", brokers: up(2), options: mayLead(LogEnds{}),
			before: partitionValue{Replicas: two, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderBrokerEpoch: 11},
		},
		{
			name:   "nobody lives",
			before: partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderBrokerEpoch: 11},
		},
		{
			name: "all restarted, one of them after a crash", brokers: map[int32]brokerValue{1: {}, 2: {PreviousBrokerEpoch: 12}}, epochs: map[int32]int64{1: 20, 2: 21},
			before: partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderBrokerEpoch: 11},
			want:   &partitionValue{Replicas: two, ISR: []int32{2}, ISREpochs: []int64{21}, Leader: 2, LeaderBrokerEpoch: 21, LeaderEpoch: 1, PartitionEpoch: 1},
		},
	} {
		c.run(t)
	}
}

func TestRepairMovesOffAStoppingBroker(t *testing.T) {
	three, stopping := []int32{1, 2, 3}, brokerValue{InControlledShutdown: true}
	all := partitionValue{Replicas: three, ISR: three, ISREpochs: []int64{11, 12, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9}
	for _, c := range []repairCase{
		{
			name: "the leader stops", brokers: map[int32]brokerValue{1: stopping, 2: {}, 3: {}}, before: all,
			want: &partitionValue{Replicas: three, ISR: []int32{2, 3}, ISREpochs: []int64{12, 13}, Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 10},
		},
		{
			name: "a follower stops", brokers: map[int32]brokerValue{1: {}, 2: stopping, 3: {}}, before: all,
			want: &partitionValue{Replicas: three, ISR: []int32{1, 3}, ISREpochs: []int64{11, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
		{name: "all stop", brokers: map[int32]brokerValue{1: stopping, 2: stopping, 3: stopping}, before: all},
		{
			name: "the leader is dead and the others stop", brokers: map[int32]brokerValue{2: stopping, 3: stopping}, before: all,
			want: &partitionValue{Replicas: three, ISR: []int32{2, 3}, ISREpochs: []int64{12, 13}, Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 10},
		},
	} {
		c.run(t)
	}
}

func TestRepairKeepsWhoIsEligible(t *testing.T) {
	three := []int32{1, 2, 3}
	alone := partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{11}, ELR: []int32{2, 3}, ELREpochs: []int64{12, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9}
	for _, c := range []repairCase{
		{
			name: "the ISR falls below the minimum", brokers: map[int32]brokerValue{1: {}, 3: {}}, epochs: map[int32]int64{3: 20}, options: min2,
			before: partitionValue{Replicas: three, ISR: three, ISREpochs: []int64{11, 12, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9},
			want:   &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{11}, ELR: []int32{2}, ELREpochs: []int64{12}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
		{name: "the eligible are dead", brokers: up(1), options: min2, before: alone},
		{
			name: "one is back cleanly, one after a crash", brokers: map[int32]brokerValue{1: {}, 2: {PreviousBrokerEpoch: 12}, 3: {}}, epochs: map[int32]int64{2: 20, 3: 21}, options: min2, before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{11}, ELR: []int32{2}, ELREpochs: []int64{20}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
		{
			name: "the last in sync is dead", brokers: up(3), options: min2, before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{3}, ISREpochs: []int64{13}, ELR: []int32{2, 1}, ELREpochs: []int64{12, 11}, Leader: 3, LeaderEpoch: 5, LeaderBrokerEpoch: 13, PartitionEpoch: 10},
		},
		{
			name: "the last in sync is back after a crash", brokers: up(1, 3), epochs: map[int32]int64{1: 20}, options: min2, before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{3}, ISREpochs: []int64{13}, ELR: []int32{2}, ELREpochs: []int64{12}, Leader: 3, LeaderEpoch: 5, LeaderBrokerEpoch: 13, PartitionEpoch: 10},
		},
		{
			name: "the last in sync is back cleanly", brokers: map[int32]brokerValue{1: {PreviousBrokerEpoch: 11}, 3: {}}, epochs: map[int32]int64{1: 20}, options: min2, before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{20}, ELR: []int32{2, 3}, ELREpochs: []int64{12, 13}, Leader: 1, LeaderEpoch: 5, LeaderBrokerEpoch: 20, PartitionEpoch: 10},
		},
		{
			name: "the last in sync is back after a crash, nobody eligible is: they may have more", brokers: up(1), epochs: map[int32]int64{1: 20}, options: min2, before: alone,
		},
		{
			name: "the last in sync and the eligible are back after crashes", brokers: up(1, 2, 3), epochs: map[int32]int64{1: 20, 2: 21, 3: 22}, options: min2, before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{20}, Leader: 1, LeaderEpoch: 5, LossyEpoch: 5, LeaderBrokerEpoch: 20, PartitionEpoch: 10},
		},
		{
			name: "the minimum was lowered while nobody leads", brokers: up(2), epochs: map[int32]int64{2: 21},
			before: partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{11}, ELR: []int32{3}, ELREpochs: []int64{13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9},
		},
		{
			name: "the minimum was lowered", brokers: up(1), before: alone,
			want: &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{11}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
	} {
		c.run(t)
	}
}

func TestRepairCompletesReassignments(t *testing.T) {
	before := partitionValue{Replicas: []int32{3, 2, 1}, ISR: []int32{1, 2, 3}, ISREpochs: []int64{11, 12, 13}, Adding: []int32{3}, Removing: []int32{1}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9}
	lagging := before
	lagging.ISR, lagging.ISREpochs = []int32{1, 2}, []int64{11, 12}
	ahead := before
	ahead.Leader, ahead.LeaderBrokerEpoch = 2, 12
	for _, c := range []repairCase{
		{name: "the new replica lags", brokers: up(1, 2, 3), before: lagging},
		{
			name: "the leader goes", brokers: up(1, 2, 3), before: before,
			want: &partitionValue{Replicas: []int32{3, 2}, ISR: []int32{2, 3}, ISREpochs: []int64{12, 13}, Leader: 3, LeaderEpoch: 5, LeaderBrokerEpoch: 13, PartitionEpoch: 10},
		},
		{
			name: "the leader stays, and fences the replica that goes", brokers: up(1, 2, 3), before: ahead,
			want: &partitionValue{Replicas: []int32{3, 2}, ISR: []int32{2, 3}, ISREpochs: []int64{12, 13}, Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 10},
		},
		{
			name: "the new replica has restarted", brokers: up(1, 2, 3), epochs: map[int32]int64{3: 20}, before: before,
			want: &partitionValue{Replicas: []int32{3, 2, 1}, ISR: []int32{1, 2}, ISREpochs: []int64{11, 12}, Adding: []int32{3}, Removing: []int32{1}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10},
		},
		{
			name: "no replica that stays is in sync", brokers: up(1, 2),
			before: partitionValue{Replicas: []int32{2, 1}, ISR: []int32{1}, ISREpochs: []int64{11}, Removing: []int32{1}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11},
		},
		{
			name: "too few replicas that stay are in sync", brokers: up(1, 2, 3), options: min2,
			before: partitionValue{Replicas: []int32{2, 3, 1}, ISR: []int32{1, 2}, ISREpochs: []int64{11, 12}, Removing: []int32{1}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11},
		},
		{
			name: "the target is smaller than the minimum", brokers: up(1, 2, 3), options: min2,
			before: partitionValue{Replicas: []int32{2, 1}, ISR: []int32{1, 2}, ISREpochs: []int64{11, 12}, Removing: []int32{1}, Leader: 2, LeaderEpoch: 4, LeaderBrokerEpoch: 12},
			want:   &partitionValue{Replicas: []int32{2}, ISR: []int32{2}, ISREpochs: []int64{12}, Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 1},
		},
	} {
		c.run(t)
	}
}

func TestRepairBalances(t *testing.T) {
	two := []int32{1, 2}
	before := partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 2, LeaderEpoch: 4, LeaderBrokerEpoch: 12, PartitionEpoch: 9}
	after := &partitionValue{Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, Leader: 1, LeaderEpoch: 5, LeaderBrokerEpoch: 11, PartitionEpoch: 10}
	due := repairOptions{Rebalance: true}
	for _, c := range []repairCase{
		{name: "it is not due", brokers: up(1, 2), before: before},
		{name: "it is due", brokers: up(1, 2), before: before, options: due, want: after},
		{
			name: "the preferred leader lags", brokers: up(1, 2), options: due,
			before: partitionValue{Replicas: two, ISR: []int32{2}, ISREpochs: []int64{12}, Leader: 2, LeaderEpoch: 4, LeaderBrokerEpoch: 12},
		},
		{
			name: "the preferred leader stops", brokers: map[int32]brokerValue{1: {InControlledShutdown: true}, 2: {}}, options: due, before: before,
			want: &partitionValue{Replicas: two, ISR: []int32{2}, ISREpochs: []int64{12}, Leader: 2, LeaderEpoch: 4, LeaderBrokerEpoch: 12, PartitionEpoch: 10},
		},
	} {
		c.run(t)
	}
}
