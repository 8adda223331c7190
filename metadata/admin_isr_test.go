package metadata

import (
	"errors"
	"fmt"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// isrTest has a topic on brokers 1, 2 and 3 that broker 1 leads.
type isrTest struct {
	*cluster
	topic   *Topic
	brokers map[int32]*Registration
}

func newISRTest(t *testing.T, partitions int32) *isrTest {
	t.Helper()
	c := newCluster(t, kvtest.Open(t))
	c.admin.minISR = func(*Image, string) int { return 2 }
	it := &isrTest{cluster: c, brokers: map[int32]*Registration{}}
	for i, r := range c.register(t, 1, 2, 3) {
		it.brokers[int32(i+1)] = r
	}
	assignments := map[int32][]int32{}
	for n := range partitions {
		assignments[n] = []int32{1, 2, 3}
	}
	it.topic = c.create(t, TopicSpec{Name: "a", Assignments: assignments})
	return it
}

func (it *isrTest) member(id int32) Member {
	return Member{Broker: id, Epoch: it.brokers[id].BrokerEpoch()}
}

// partition returns the newest state of a partition in the store.
func (it *isrTest) partition(t *testing.T, n int32) Partition {
	t.Helper()
	pair, err := it.store.Get(t.Context(), partitionKey(it.topic.ID, n))
	if err != nil {
		t.Fatal(err)
	}
	p, err := decodePartition(pair)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (it *isrTest) change(p Partition, n int32, members ...Member) ISRChange {
	return ISRChange{TopicID: it.topic.ID, Partition: n, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: members}
}

// alter changes one ISR and, if that succeeds, waits for the image.
func (it *isrTest) alter(t *testing.T, change ISRChange) error {
	t.Helper()
	err := it.admin.AlterISR(t.Context(), it.member(1), []ISRChange{change})[0]
	if err == nil {
		it.wait(t, func(m *Image) bool {
			p, _ := m.Partition(TopicPartition{"a", change.Partition})
			return p.PartitionEpoch == change.PartitionEpoch+1
		})
	}
	return err
}

func TestAlterISRShrinksAndExpands(t *testing.T) {
	it := newISRTest(t, 1)
	before := it.partition(t, 0)
	steps := []struct {
		isr      []int32
		eligible string
	}{
		{[]int32{1, 3}, "[]"},
		{[]int32{1}, "[3]"},
		{[]int32{3, 1, 2}, "[]"},
		{[]int32{1}, "[3 2]"},
		{[]int32{1, 2}, "[]"},
	}
	for i, step := range steps {
		p := it.partition(t, 0)
		var members []Member
		for _, id := range step.isr {
			members = append(members, it.member(id))
		}
		if err := it.alter(t, it.change(p, 0, members...)); err != nil {
			t.Fatal(err)
		}
		p = it.partition(t, 0)
		if fmt.Sprint(p.Members()) != fmt.Sprint(members) || fmt.Sprint(p.ELR) != step.eligible {
			t.Errorf("step %d: %+v", i, p)
		}
		if p.PartitionEpoch != before.PartitionEpoch+int32(i)+1 || p.LeaderEpoch != before.LeaderEpoch || p.Leader != 1 || p.LeaderBrokerEpoch != before.LeaderBrokerEpoch {
			t.Errorf("step %d: %+v", i, p)
		}
	}
}

func TestAlterISRRefuses(t *testing.T) {
	it := newISRTest(t, 1)
	p := it.partition(t, 0)
	if err := it.alter(t, it.change(p, 0, it.member(1))); err != nil {
		t.Fatal(err)
	}
	outdated := it.change(p, 0, it.member(1), it.member(2))
	p = it.partition(t, 0)
	if err := it.brokers[3].BeginControlledShutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	it.wait(t, func(m *Image) bool { return m.Brokers[3].InControlledShutdown })
	otherTopic, otherLeader := it.change(p, 0, it.member(1)), it.change(p, 0, it.member(1))
	otherTopic.TopicID = TopicID{9}
	otherLeader.LeaderEpoch++
	for _, c := range []struct {
		name   string
		change ISRChange
		want   error
	}{
		{"an older partition epoch", outdated, kv.ErrConflict},
		{"another leader epoch", otherLeader, kv.ErrConflict},
		{"no such topic", otherTopic, kv.ErrConflict},
		{"no such partition", it.change(p, 1, it.member(1)), kv.ErrConflict},
		{"without the leader", it.change(p, 0, it.member(2)), ErrInvalidRequest},
		{"the leader of another epoch", it.change(p, 0, Member{Broker: 1, Epoch: 1}), ErrInvalidRequest},
		{"twice", it.change(p, 0, it.member(1), it.member(2), it.member(2)), ErrInvalidRequest},
		{"no replica", it.change(p, 0, it.member(1), Member{Broker: 4, Epoch: 4}), ErrInvalidRequest},
		{"an earlier incarnation", it.change(p, 0, it.member(1), Member{Broker: 2, Epoch: it.member(2).Epoch - 1}), kv.ErrConflict},
		{"no epoch", it.change(p, 0, it.member(1), Member{Broker: 2}), kv.ErrConflict},
		{"a stopping broker", it.change(p, 0, it.member(1), it.member(3)), ErrIneligibleReplica},
	} {
		if err := it.alter(t, c.change); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	self := it.member(2)
	if err := it.admin.AlterISR(t.Context(), self, []ISRChange{it.change(p, 0, it.member(1), self)})[0]; !errors.Is(err, kv.ErrConflict) {
		t.Errorf("by somebody who does not lead: %v", err)
	}
	it.kill(t, 1)
	it.restart(t, 1) // registered, and not elected again
	if err := it.alter(t, it.change(p, 0, it.member(1))); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("by the leader's next incarnation: %v", err)
	}
	if now := it.partition(t, 0); now.Revision != p.Revision {
		t.Errorf("it was written: %+v", now)
	}
}

// TestAlterISRComparesWhatTheImageMayNotShow: the image allows a change, but the store no longer
// does.
func TestAlterISRComparesWhatTheImageMayNotShow(t *testing.T) {
	restart := func(id int32) func(t *testing.T, it *isrTest) {
		return func(t *testing.T, it *isrTest) {
			t.Helper()
			r := it.registration(t, id, it.loader.Image().Brokers[id].DirectoryID, "")
			if _, err := r.Register(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	for _, c := range []struct {
		name     string
		meantime func(t *testing.T, it *isrTest)
		want     error
	}{
		{"nothing", func(*testing.T, *isrTest) {}, nil},
		{"the member that joins restarts", restart(2), kv.ErrConflict},
		{"the leader restarts", restart(1), kv.ErrConflict},
		{"a member that was one before restarts", restart(3), nil},
		{"the partition is written", func(t *testing.T, it *isrTest) {
			t.Helper()
			p := it.partition(t, 0)
			if _, err := it.store.Txn(t.Context(), nil, kv.Put(partitionKey(it.topic.ID, 0), p.encode())); err != nil {
				t.Error(err)
			}
		}, kv.ErrConflict},
	} {
		it := newISRTest(t, 1)
		if err := it.alter(t, it.change(it.partition(t, 0), 0, it.member(1), it.member(3))); err != nil {
			t.Fatal(err)
		}
		change := it.change(it.partition(t, 0), 0, it.member(1), it.member(2), it.member(3))
		self := it.member(1)
		done := false
		it.admin.store = &kvtest.HookedStore{Store: it.store, BeforeTxn: func(int) error {
			if !done {
				done = true
				c.meantime(t, it)
			}
			return nil
		}}
		if err := it.admin.AlterISR(t.Context(), self, []ISRChange{change})[0]; !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if joined := len(it.partition(t, 0).ISR) == 3; joined != (c.want == nil) {
			t.Errorf("%s: the ISR has changed: %t", c.name, joined)
		}
	}
}

func TestAlterISRWritesManyAtOnce(t *testing.T) {
	it := newISRTest(t, 200)
	s := &kvtest.HookedStore{Store: it.store}
	it.admin.store = s
	changes := make([]ISRChange, 0, 201)
	for n := range int32(200) {
		changes = append(changes, it.change(it.partition(t, n), n, it.member(1), it.member(2)))
	}
	changes[7].PartitionEpoch++
	changes = append(changes, changes[3])
	errs := it.admin.AlterISR(t.Context(), it.member(1), changes)
	for i, err := range errs {
		if bad := i == 7 || i == 200; bad != errors.Is(err, kv.ErrConflict) || !bad && err != nil {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if s.Txns() != 2 {
		t.Errorf("%d transactions", s.Txns())
	}
	if p := it.partition(t, 199); len(p.ISR) != 2 {
		t.Errorf("%+v", p)
	}
	s.BeforeTxn = func(int) error { return kv.ErrUnavailable }
	if errs = it.admin.AlterISR(t.Context(), it.member(1), changes[7:8]); !errors.Is(errs[0], kv.ErrConflict) {
		t.Error(errs)
	}
	it.wait(t, func(m *Image) bool { p, _ := m.Partition(TopicPartition{"a", 3}); return p.PartitionEpoch == 1 })
	if errs = it.admin.AlterISR(t.Context(), it.member(1), []ISRChange{it.change(it.partition(t, 3), 3, it.member(1))}); !errors.Is(errs[0], kv.ErrUnavailable) {
		t.Error(errs)
	}
}
