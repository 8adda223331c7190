package metadata

import (
	"slices"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
)

// dirs returns directory ids for tests, by number.
func dirs(numbers ...byte) []DirectoryID {
	ids := make([]DirectoryID, len(numbers))
	for i, n := range numbers {
		ids[i] = DirectoryID{n}
	}
	return ids
}

func TestRepairHeedsDirectories(t *testing.T) {
	two := []int32{1, 2}
	in := func(first, second byte) partitionValue {
		return partitionValue{
			Replicas: two, ISR: two, ISREpochs: []int64{11, 12}, ISRDirs: dirs(first, second),
			Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9,
		}
	}
	alone := partitionValue{
		Replicas: two, ISR: two[:1], ISREpochs: []int64{11}, ISRDirs: dirs(1),
		Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9,
	}
	unknown := alone
	unknown.ISRDirs = nil
	elected := func(epoch int64, directories ...DirectoryID) *partitionValue {
		next := alone
		next.ISREpochs, next.ISRDirs, next.LeaderBrokerEpoch = []int64{epoch}, directories, epoch
		next.LeaderEpoch, next.PartitionEpoch = 5, 10
		return &next
	}
	lossy := func(v *partitionValue) *partitionValue {
		v.LossyEpoch = v.LeaderEpoch
		return v
	}
	again := map[int32]int64{1: 20}
	withEligible := func(v partitionValue) partitionValue {
		v.ELR, v.ELREpochs, v.ELRDirs = two[1:], []int64{12}, dirs(3)
		return v
	}
	eligible := withEligible(alone)
	for _, c := range []repairCase{
		{name: "the directories work", before: in(1, 3), brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2)}, 2: {Directories: dirs(3)}}},
		{
			name: "the leader's directory failed", before: in(1, 3), brokers: map[int32]brokerValue{1: {Directories: dirs(2)}, 2: {Directories: dirs(3)}},
			want: &partitionValue{
				Replicas: two, ISR: two[1:], ISREpochs: []int64{12}, ISRDirs: dirs(3),
				Leader: 2, LeaderEpoch: 5, LeaderBrokerEpoch: 12, PartitionEpoch: 10,
			},
		},
		{
			name: "the follower's directory failed", before: in(1, 3), brokers: map[int32]brokerValue{1: {Directories: dirs(1)}, 2: {}},
			want: &partitionValue{
				Replicas: two, ISR: two[:1], ISREpochs: []int64{11}, ISRDirs: dirs(1),
				Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 10,
			},
		},
		{name: "the only directory failed", before: alone, brokers: map[int32]brokerValue{1: {Directories: dirs(2)}}},
		{name: "the broker is back without it", before: alone, epochs: again, brokers: map[int32]brokerValue{1: {Directories: dirs(2), PreviousBrokerEpoch: 11}}},
		{
			name: "back in the same one, nothing lost", before: alone, epochs: again, want: elected(20, dirs(1)...),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 11}},
		},
		{
			name: "back in the same one, nothing lost in several processes", before: alone, epochs: again, want: elected(20, dirs(1)...),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 10}},
		},
		{
			name: "back in the same one, nothing lost since a later registration", before: eligible, epochs: again,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 12}},
		},
		{
			name: "another directory has lost something since", before: alone, epochs: again, want: elected(20, dirs(1)...),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 10, LostSinceKept: dirs(2, 7)}},
		},
		{
			name: "this one has lost something since", before: eligible, epochs: again,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 10, LostSinceKept: dirs(1)}},
		},
		{
			name: "in a directory that is not known, before the last process", before: withEligible(unknown), epochs: again,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 10}},
		},
		{
			name: "lost since, though others are kept for longer", before: eligible, epochs: again,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 16, KeptBrokerEpoch: 10, LostDirectories: dirs(1)}},
		},
		{
			name: "back in the same one after a crash", before: alone, epochs: again, want: lossy(elected(20, dirs(1)...)),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2)}},
		},
		{name: "back after a crash, an eligible one is away", before: eligible, epochs: again, brokers: map[int32]brokerValue{1: {Directories: dirs(1)}}},
		{
			name: "back after a crash, the eligible one has lost its log", before: eligible, epochs: again, want: lossy(elected(20, dirs(1)...)),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1)}, 2: {Directories: dirs(4)}},
			options: repairOptions{MinISR: func(*Image, string) int { return 2 }},
		},
		{
			name: "in a directory that is not known, none is lost", before: unknown, epochs: again, want: elected(20),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 11}},
		},
		{
			name: "in a directory that is not known, one was lost then", before: unknown, epochs: again,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), PreviousBrokerEpoch: 11, LostDirectories: dirs(3), LostBrokerEpoch: 11}},
		},
		{
			name: "in a directory that is not known, one was lost before", before: unknown, epochs: again, want: lossy(elected(20)),
			brokers: map[int32]brokerValue{1: {Directories: dirs(1, 2), LostBrokerEpoch: 10}},
		},
		{
			name: "the directory lacks something", before: eligible, epochs: again, want: nil,
			brokers: map[int32]brokerValue{1: {Directories: dirs(1), PreviousBrokerEpoch: 11, LostDirectories: dirs(1)}},
		},
	} {
		c.run(t)
	}
}

// TestLostLeaderIsElectedUncleanlyOnly: the broker whose disk was replaced is live, and the one
// that has all records is fenced.
func TestLostLeaderIsElectedUncleanlyOnly(t *testing.T) {
	before := partitionValue{
		V: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}, ISREpochs: []int64{11}, ISRDirs: dirs(1),
		Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9,
	}
	image := applied(t, put(brokerKey(1), brokerValue{Directories: dirs(9)}, 20), put(brokerKey(3), brokerValue{Directories: dirs(3)}, 13),
		put(partitionKey(TopicID{1}, 0), before, 40), put(topicKey("a"), topicValue{V: 1, ID: TopicID{1}, Partitions: 1}, 41))
	all := repairs(image, repairOptions{})
	if len(all.Changes) != 0 || len(all.Asks) != 0 {
		t.Errorf("elected: %+v", all)
	}
	all = repairs(image, mayLead(nil))
	want := []Member{{Broker: 1, Epoch: 20}, {Broker: 3, Epoch: 13}}
	if len(all.Changes) != 0 || len(all.Asks) != 1 || !slices.Equal(all.Asks[0].Replicas, want) {
		t.Fatalf("asked: %+v", all)
	}
	for _, c := range []struct {
		name string
		ends LogEnds
		want int32
	}{
		{"the longest log of the same epoch", LogEnds{want[0]: {3, 10}, want[1]: {3, 11}}, 3},
		{"a later epoch is worth more", LogEnds{want[0]: {4, 1}, want[1]: {3, 11}}, 1},
		{"equal: the preferred one", LogEnds{want[0]: {3, 11}, want[1]: {3, 11}}, 1},
		{"only one answers", LogEnds{want[1]: {-1, 0}}, 3},
		{"the answer of an earlier process", LogEnds{{Broker: 1, Epoch: 11}: {9, 9}, want[1]: {-1, 0}}, 3},
	} {
		changes := repairs(image, mayLead(c.ends)).Changes
		if len(changes) != 1 || !changes[0].Unclean {
			t.Fatalf("%s: %+v", c.name, changes)
		}
		p, err := decodePartition(kv.Pair{Value: changes[0].Ops[0].Value})
		if err != nil || p.Leader != c.want || p.UncleanEpoch != 5 || p.LeaderEpoch != 5 || len(p.ISR) != 1 {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

// TestAwaitedAreThoseThatMayHaveEverything: a partition without a leader waits for the
// fenced members of its ISR and ELR.
func TestAwaitedAreThoseThatMayHaveEverything(t *testing.T) {
	p := Partition{
		Replicas: []int32{1, 2, 3}, ISR: []int32{1}, ISREpochs: []int64{11}, ELR: []int32{2, 3}, ELREpochs: []int64{12, 13},
		Leader: 1, LeaderBrokerEpoch: 11,
	}
	image := applied(t, put(brokerKey(1), brokerValue{}, 20), put(brokerKey(4), brokerValue{}, 21))
	if got := image.Awaited(&p); !slices.Equal(got, []int32{2, 3}) || image.Electable(&p) {
		t.Errorf("the leader has crashed: %v", got)
	}
	image = applied(t, put(brokerKey(1), brokerValue{PreviousBrokerEpoch: 11}, 20))
	if !image.Electable(&p) {
		t.Error("the leader has lost nothing and is not electable")
	}
	image = applied(t, put(brokerKey(1), brokerValue{}, 11))
	if got := image.Awaited(&p); got != nil {
		t.Errorf("it is led and waits for %v", got)
	}
}

// TestDeadBrokersLeaseOutvotesNobody: the whole cluster restarts without broker 3, whose lease has
// not ended yet. The live members must not be dropped in favor of it.
func TestDeadBrokersLeaseOutvotesNobody(t *testing.T) {
	three := []int32{1, 2, 3}
	before := partitionValue{Replicas: three, ISR: three, ISREpochs: []int64{11, 12, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9}
	led := partitionValue{Replicas: three, ISR: []int32{1, 3}, ISREpochs: []int64{11, 13}, Leader: 1, LeaderEpoch: 4, LeaderBrokerEpoch: 11, PartitionEpoch: 9}
	thinks := func(of Doubt) repairOptions {
		return repairOptions{Doubt: func(m Member) Doubt {
			if m.Broker == 3 {
				return of
			}
			return NoDoubt
		}}
	}
	back, crashed := map[int32]brokerValue{1: {PreviousBrokerEpoch: 11}, 2: {PreviousBrokerEpoch: 12}, 3: {}}, up(1, 2, 3)
	epochs := map[int32]int64{1: 20, 2: 21}
	for _, c := range []repairCase{
		{name: "nobody knows", before: before, brokers: back, epochs: epochs, options: thinks(Unknown)},
		{
			name: "it is silent", before: before, brokers: back, epochs: epochs, options: thinks(Silent),
			want: &partitionValue{Replicas: three, ISR: []int32{1}, ISREpochs: []int64{20}, Leader: 1, LeaderEpoch: 5, LeaderBrokerEpoch: 20, PartitionEpoch: 10},
		},
		{name: "it is silent, and the others have crashed", before: before, brokers: crashed, epochs: epochs, options: thinks(Silent)},
		{
			name: "it answers", before: before, brokers: crashed, epochs: epochs, options: thinks(NoDoubt),
			want: &partitionValue{Replicas: three, ISR: []int32{3}, ISREpochs: []int64{13}, Leader: 3, LeaderEpoch: 5, LeaderBrokerEpoch: 13, PartitionEpoch: 10},
		},
		{
			name: "a failover waits for nobody", before: led, brokers: up(3), options: thinks(Unknown),
			want: &partitionValue{Replicas: three, ISR: []int32{3}, ISREpochs: []int64{13}, Leader: 3, LeaderEpoch: 5, LeaderBrokerEpoch: 13, PartitionEpoch: 10},
		},
	} {
		c.run(t)
	}
	image := applied(t, put(brokerKey(1), brokerValue{}, 20), put(brokerKey(3), brokerValue{}, 13),
		put(partitionKey(TopicID{1}, 0), before, 40), put(topicKey("a"), topicValue{V: 1, ID: TopicID{1}, Partitions: 1}, 41))
	if all := repairs(image, thinks(Unknown)); !slices.Equal(all.Doubts, []Member{{Broker: 3, Epoch: 13}}) {
		t.Errorf("to be probed: %+v", all.Doubts)
	}
}

// TestBrokersThatStayAreElectedFirst: a broker in controlled shutdown is elected only if there is
// no other.
func TestBrokersThatStayAreElectedFirst(t *testing.T) {
	image := newImage()
	image.Brokers = map[int32]Broker{1: {ID: 1, Epoch: 11, InControlledShutdown: true}, 2: {ID: 2, Epoch: 12}, 3: {ID: 3, Epoch: 13, InControlledShutdown: true}}
	p := &Partition{Replicas: []int32{1, 3, 2}}
	for _, c := range []struct {
		members []Member
		want    int32
	}{
		{[]Member{{Broker: 1}, {Broker: 2}, {Broker: 3}}, 2},
		{[]Member{{Broker: 3}, {Broker: 1}}, 1},
		{[]Member{{Broker: 2}}, 2},
	} {
		if m, ok := candidate(image, p, c.members); !ok || m.Broker != c.want || m.Epoch != 10+int64(c.want) {
			t.Errorf("of %v %+v is elected, want %d", c.members, m, c.want)
		}
	}
}
