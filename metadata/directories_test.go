package metadata

import (
	"errors"
	"slices"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// registerIn registers a broker with data directories.
func (c *cluster) registerIn(t *testing.T, id int32, directories ...DirectoryID) *Registration {
	t.Helper()
	r := c.registration(t, id, NewTopicID().String(), "")
	r.mu.directories = directories
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return m.Brokers[id].Epoch == r.BrokerEpoch() })
	return r
}

// fail makes a broker report the directories that are left.
func (c *cluster) fail(t *testing.T, r *Registration, left ...DirectoryID) {
	t.Helper()
	if err := r.SetDirectories(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return len(m.Brokers[r.BrokerID()].Directories) == len(left) })
}

// TestDirectoriesOfANewPartition: the directories are known at once on brokers with one directory.
func TestDirectoriesOfANewPartition(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	one := c.registerIn(t, 1, dirs(1)...)
	c.registerIn(t, 2, dirs(2, 3)...)
	topic := c.create(t, TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}}})
	alone := c.create(t, TopicSpec{Name: "b", Assignments: map[int32][]int32{0: {2}}})
	if got := topic.Partitions[0].ISRDirectories; !slices.Equal(got, []DirectoryID{{1}, {}}) {
		t.Errorf("directories %v", got)
	}
	if got := alone.Partitions[0].ISRDirectories; got != nil {
		t.Errorf("nobody knows, and the state has %v", got)
	}
	if image := c.loader.Image(); !image.DirectoriesAssigned(1) || image.DirectoriesAssigned(2) {
		t.Error("broker 2 has said where its log is, or broker 1 has not")
	}
	c.fail(t, one)
	if leader, led := c.loader.Image().Leader(topic.Partitions[0]); led {
		t.Errorf("broker %d leads a log that is offline", leader.ID)
	}
}

// TestLeaderProposesDirectories: a leader may propose its own directory, even a failed one, and
// working directories of others.
func TestLeaderProposesDirectories(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	one, two := c.registerIn(t, 1, dirs(1, 2)...), c.registerIn(t, 2, dirs(3, 4)...)
	topic := c.create(t, TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}}})
	self, other := Member{Broker: 1, Epoch: one.BrokerEpoch()}, Member{Broker: 2, Epoch: two.BrokerEpoch()}
	in := func(m Member, number byte) Member { m.Directory = DirectoryID{number}; return m }
	propose := func(isr ...Member) error {
		t.Helper()
		p, _ := c.loader.Image().Partition(TopicPartition{Topic: "a"})
		err := c.admin.AlterISR(t.Context(), self, []ISRChange{{
			TopicID: topic.ID, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: isr,
		}})[0]
		if err == nil {
			c.wait(t, func(m *Image) bool {
				now, _ := m.Partition(TopicPartition{Topic: "a"})
				return now.PartitionEpoch > p.PartitionEpoch && slices.Equal(now.Members(), isr)
			})
		}
		return err
	}
	if err := propose(in(self, 1), in(other, 3)); err != nil {
		t.Fatal(err)
	}
	c.fail(t, two, dirs(3)...)
	if err := propose(in(self, 1), in(other, 4)); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("a follower's directory that has failed: %v", err)
	}
	if err := propose(self, other); err != nil { // both are about to move
		t.Error(err)
	}
	c.fail(t, one, dirs(2)...)
	if changes := repairs(c.loader.Image(), repairOptions{}).Changes; len(changes) != 0 {
		t.Errorf("nobody knows where the leader's log is: %+v", changes)
	}
	if err := propose(in(self, 1), other); err != nil {
		t.Errorf("the leader says that its log was there: %v", err)
	}
	changes := repairs(c.loader.Image(), repairOptions{}).Changes
	if len(changes) != 1 {
		t.Fatalf("%d changes", len(changes))
	}
	if p, err := decodePartition(kv.Pair{Value: changes[0].Ops[0].Value}); err != nil || p.Leader != 2 || !slices.Equal(p.Members(), []Member{other}) {
		t.Errorf("planned: %+v, %v", p, err)
	}
}
