package metadata

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata/kv"
)

// repairMachine drives one topic through random events, plans, and leaders' proposals. It checks
// every write against the invariants of doc.go.
type repairMachine struct {
	image    *Image
	revision int64
	unclean  bool
	minISR   int
	topic    TopicID
	model    *modelLogs
}

func (m *repairMachine) apply(t *rapid.T, events ...kv.Event) {
	image, err := m.image.apply(kv.Batch{Revision: m.revision, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	m.image = image
}

// topicState returns the present state of the topic.
func (m *repairMachine) topicState() *Topic {
	t, _ := m.image.TopicByID(m.topic)
	return t
}

func (m *repairMachine) next() int64 { m.revision++; return m.revision }

func (m *repairMachine) options(rebalance bool) repairOptions {
	return repairOptions{
		MinISR:          func(*Image, string) int { return m.minISR },
		UncleanElection: func(*Image, string) bool { return m.unclean },
		Rebalance:       rebalance,
	}
}

const repairBrokers = 5

// event lets a random event happen to a broker.
func (m *repairMachine) event(t *rapid.T) {
	id := rapid.Int32Range(1, repairBrokers).Draw(t, "broker")
	b, live := m.image.Brokers[id]
	switch what := rapid.SampledFrom([]string{"die", "die", "start", "start", "crash", "replace", "fail", "stop", "settings"}).Draw(t, "event"); {
	case what == "settings":
		m.minISR, m.unclean = rapid.IntRange(1, 3).Draw(t, "min"), rapid.Float64().Draw(t, "unclean") < 0.1
	case live && what == "die":
		m.apply(t, del(brokerKey(id), m.next()))
	case live && what == "stop":
		b.InControlledShutdown = true
		r := m.next()
		m.apply(t, kv.Event{Pair: kv.Pair{Key: brokerKey(id), Value: b.encode(), CreateRevision: b.Epoch, ModRevision: r}})
	case live && what == "fail":
		m.fail(t, id, b)
	case what == "start" || what == "crash" || what == "replace":
		epoch := m.next()
		machine := what == "crash" || what == "replace" && rapid.Bool().Draw(t, "machine")
		m.apply(t, put(brokerKey(id), m.model.restart(t, id, epoch, machine, what == "replace"), epoch))
	}
}

// propose lets the leader of a partition change its ISR, as AlterISR does.
func (m *repairMachine) propose(t *rapid.T) {
	topic := m.topicState()
	n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
	p := topic.Partitions[n]
	leader, ok := m.image.Leader(p)
	if !ok {
		return
	}
	// The leader proposes also if its own log is offline: the state may not name the directory that
	// has failed.
	isr := []Member{{Broker: leader.ID, Epoch: leader.Epoch, Directory: m.model.log(n, leader.ID).directory}}
	for _, id := range p.Replicas {
		present, live := m.image.member(id)
		old, was := memberOf(p.Members(), id)
		switch {
		case id == leader.ID || rapid.Bool().Draw(t, "leave"):
		case live && !m.image.Brokers[id].InControlledShutdown && m.joins(n, p, present):
			present.Directory = m.model.log(n, id).directory
			isr = append(isr, present)
		case was:
			isr = append(isr, old)
		}
	}
	a := Admin{minISR: m.options(false).MinISR}
	c, err := a.proposal(m.image, isr[0], ISRChange{TopicID: m.topic, Partition: int32(n), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: isr})
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, c)
}

// reassign begins or cancels a reassignment, as AlterPartitionReassignments does.
func (m *repairMachine) reassign(t *rapid.T) {
	topic := m.topicState()
	n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
	p := topic.Partitions[n]
	var target []int32
	if rapid.Bool().Draw(t, "move") {
		target = rapid.Permutation(m.image.BrokerIDs()).Draw(t, "target")
		target = target[:min(len(target), rapid.IntRange(0, 3).Draw(t, "factor"))]
	}
	next, err := reassign(m.image, p, Reassignment{Replicas: target, Cancel: len(target) == 0, AllowFactorChange: true}, m.minISR)
	if err != nil || next.same(p) {
		return
	}
	next.PartitionEpoch++
	m.write(t, topic.write(int32(n), p, &next, "reassign"))
}

// repair plans, applies the plan, and checks that nothing is left to do.
func (m *repairMachine) repair(t *rapid.T) {
	o := m.options(rapid.Float64().Draw(t, "due") < 0.3)
	before := m.image
	o.LogEnds = m.ends(repairs(before, o).Asks)
	for _, c := range repairs(before, o).Changes {
		m.write(t, c)
	}
	if again := repairs(m.image, o).Changes; len(again) != 0 {
		t.Fatalf("planned again: %+v, %s\nafter %+v", again[0], again[0].Ops[0].Value, m.topicState().Partitions)
	}
	for i := range m.topicState().Partitions {
		p := m.topicState().Partitions[i]
		_, led := m.image.Leader(p)
		if !led && slices.ContainsFunc(p.Members(), m.image.Live) {
			t.Fatalf("nobody leads, and a member lives: %+v", p)
		}
		for _, id := range p.ELR {
			if slices.Contains(p.ISR, id) || led && len(p.ISR) >= min(m.minISR, len(p.Replicas)) {
				t.Fatalf("broker %d is eligible: %+v, minimum %d", id, p, m.minISR)
			}
		}
	}
	for id := range m.image.Brokers {
		if m.image.Brokers[id].InControlledShutdown && !m.image.ShouldShutDown(id) {
			t.Fatalf("broker %d is not drained: %+v", id, m.topicState().Partitions)
		}
	}
}

// write applies one write and checks it.
func (m *repairMachine) write(t *rapid.T, c Change) {
	if len(c.Ops) != 1 {
		t.Fatalf("%d operations for one partition", len(c.Ops))
	}
	before, _ := m.topicState().Partition(c.Partition.Partition)
	r := m.next()
	m.apply(t, kv.Event{Pair: kv.Pair{Key: c.Ops[0].Key, Value: c.Ops[0].Value, CreateRevision: 1, ModRevision: r}})
	after, _ := m.topicState().Partition(c.Partition.Partition)
	err := m.check(before, after, c.Unclean)
	if err == nil {
		err = m.checkLogs(int(c.Partition.Partition), before, after, c.Unclean)
	}
	if err != nil {
		t.Fatalf("%s: %v\nbefore %+v\nafter  %+v\nbrokers %+v", c.Reason, err, before, after, slices.Collect(maps.Values(m.image.Brokers)))
	}
}

func (m *repairMachine) check(before, after *Partition, unclean bool) error {
	elected := before.Leader != after.Leader || before.LeaderBrokerEpoch != after.LeaderBrokerEpoch
	epoch := elected || len(without(before.Replicas, after.Replicas)) > 0
	switch {
	case len(after.ISR) == 0 || len(after.ISREpochs) != len(after.ISR):
		return fmt.Errorf("the ISR is empty")
	case len(within(after.Members(), after.Replicas)) != len(after.ISR):
		return fmt.Errorf("the ISR is not within the replicas")
	case after.PartitionEpoch != before.PartitionEpoch+1:
		return fmt.Errorf("the partition epoch has not grown by one")
	case epoch != (after.LeaderEpoch == before.LeaderEpoch+1) || !epoch && after.LeaderEpoch != before.LeaderEpoch:
		return fmt.Errorf("the leader epoch does not go with the leader and the replicas that are removed")
	case len(after.Replicas) == 0 || len(without(after.Adding, after.Replicas))+len(without(after.Removing, after.Replicas)) > 0:
		return fmt.Errorf("the replicas are not all of the reassignment's")
	}
	if err := m.checkCopies(before, after); err != nil {
		return err
	}
	if !elected {
		return nil
	}
	leader := Member{Broker: after.Leader, Epoch: after.LeaderBrokerEpoch}
	if at, ok := memberOf(after.Members(), leader.Broker); !ok || at.Epoch != leader.Epoch || !m.image.Live(at) {
		return fmt.Errorf("the new leader is not a live member")
	}
	if unclean && !m.unclean {
		return fmt.Errorf("unclean election of %d", leader.Broker)
	}
	kept := slices.ContainsFunc(slices.Concat(before.Members(), before.EligibleMembers()), func(one Member) bool {
		return one.Broker == leader.Broker && m.image.lostNothing(one)
	})
	if noted := after.LossyEpoch == after.LeaderEpoch; noted == kept && !unclean {
		return fmt.Errorf("%d has lost nothing: %t, and the state says that it may have: %t", leader.Broker, kept, noted)
	}
	if unclean != (after.UncleanEpoch == after.LeaderEpoch) {
		return fmt.Errorf("the state does not say how %d was elected", leader.Broker)
	}
	return nil
}

// checkCopies checks that a write that removes replicas leaves min.insync.replicas of them in sync,
// unless the removed ones were neither in sync nor eligible.
func (m *repairMachine) checkCopies(before, after *Partition) error {
	had := slices.Concat(before.Members(), before.EligibleMembers())
	gone := without(before.Replicas, after.Replicas)
	if len(within(had, gone)) == 0 {
		return nil
	}
	target := without(after.Replicas, after.Removing)
	if len(after.ISR) < min(m.minISR, len(target)) {
		return fmt.Errorf("replicas %v are gone, and only %v are in sync", gone, after.ISR)
	}
	return nil
}

// TestRepairKeepsItsInvariants runs repairMachine: no sequence of crashes, lost disks, settings and
// reassignments may lose a committed record or break an invariant of doc.go.
func TestRepairKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &repairMachine{image: newImage(), revision: 10, minISR: 1, topic: TopicID{1}}
		const partitions = 4
		m.model = newModelLogs(partitions)
		for id := range int32(repairBrokers) {
			epoch := m.next()
			m.apply(t, put(brokerKey(id+1), m.model.restart(t, id+1, epoch, true, false), epoch))
		}
		placed, err := place(m.image, partitions, rapid.Int16Range(1, 4).Draw(t, "factor"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for n, p := range newPartitions(m.image, placed, 1) {
			r := m.next()
			m.apply(t, kv.Event{Pair: kv.Pair{Key: partitionKey(m.topic, int32(n)), Value: p.encode(), CreateRevision: r, ModRevision: r}})
		}
		m.apply(t, put(topicKey("a"), topicValue{V: 1, ID: m.topic, Partitions: partitions}, m.next()))
		t.Repeat(map[string]func(*rapid.T){
			"event": m.event, "events": m.event, "propose": m.propose, "plan": m.repair, "plans": m.repair, "reassign": m.reassign,
			"work": m.work, "more work": m.work,
		})
	})
}
