package metadata

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// planMachine drives one topic through random events, plans, and leaders'
// proposals, and checks every write against the invariants of doc.go.
type planMachine struct {
	image    *Image
	revision int64
	dead     map[int32]int64 // the epoch under which a broker was last registered
	unclean  bool
	minISR   int
	topic    TopicID
}

func (m *planMachine) apply(t *rapid.T, events ...Event) {
	image, err := m.image.Apply(Batch{Revision: m.revision, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	m.image = image
}

func (m *planMachine) next() int64 { m.revision++; return m.revision }

func (m *planMachine) options(rebalance bool) PlanOptions {
	return PlanOptions{
		MinISR:          func(*Image, string) int { return m.minISR },
		UncleanElection: func(*Image, string) bool { return m.unclean },
		Rebalance:       rebalance, ImbalancePercent: 10,
	}
}

const planBrokers = 5

// event is something that happens to a broker.
func (m *planMachine) event(t *rapid.T) {
	id := rapid.Int32Range(1, planBrokers).Draw(t, "broker")
	b, live := m.image.Brokers[id]
	switch what := rapid.SampledFrom([]string{"die", "die", "start", "crash", "stop", "settings"}).Draw(t, "event"); {
	case what == "settings":
		m.minISR, m.unclean = rapid.IntRange(1, 3).Draw(t, "min"), rapid.Float64().Draw(t, "unclean") < 0.1
	case live && what == "die":
		m.dead[id] = b.Epoch
		m.apply(t, del(brokerKey(id), m.next()))
	case live && what == "stop":
		b.Stopping = true
		r := m.next()
		m.apply(t, Event{KV: KV{Key: brokerKey(id), Value: b.encode(), CreateRevision: b.Epoch, ModRevision: r}})
	case what == "start" || what == "crash":
		previous := m.dead[id]
		if live {
			previous = b.Epoch
		}
		if what == "crash" {
			previous = 0
		}
		m.apply(t, put(brokerKey(id), brokerValue{PreviousEpoch: previous}, m.next()))
	}
}

// propose lets the leader of a partition change its ISR, as AlterISR does.
func (m *planMachine) propose(t *rapid.T) {
	topic := m.image.byID[m.topic]
	n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
	p := &topic.Partitions[n]
	leader, ok := m.image.Leader(p)
	if !ok {
		return
	}
	isr := []Member{{Broker: leader.ID, Epoch: leader.Epoch}}
	for _, id := range p.Replicas {
		present, live := m.image.member(id)
		old, was := memberOf(p.Members(), id)
		switch {
		case id == leader.ID || rapid.Bool().Draw(t, "leave"):
		case live && !m.image.Brokers[id].Stopping:
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

// reassign starts or cancels a reassignment, as AlterPartitionReassignments does.
func (m *planMachine) reassign(t *rapid.T) {
	topic := m.image.byID[m.topic]
	n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
	p := &topic.Partitions[n]
	var target []int32
	if rapid.Bool().Draw(t, "move") {
		target = rapid.Permutation(m.image.BrokerIDs()).Draw(t, "target")
		target = target[:min(len(target), rapid.IntRange(0, 3).Draw(t, "factor"))]
	}
	next, err := reassign(m.image, p, Reassignment{Replicas: target, Cancel: len(target) == 0, AllowFactorChange: true})
	if err != nil || next.same(p) {
		return
	}
	next.PartitionEpoch++
	m.write(t, topic.write(int32(n), p, &next, "reassign"))
}

// plan makes a plan, applies it, and checks that nothing is left to do.
func (m *planMachine) plan(t *rapid.T) {
	o := m.options(rapid.Float64().Draw(t, "due") < 0.3)
	before := m.image
	for _, c := range Plan(before, o) {
		m.write(t, c)
	}
	if again := Plan(m.image, o); len(again) != 0 {
		t.Fatalf("planned again: %+v, %s\nafter %+v", again[0], again[0].Ops[0].Value, m.image.byID[m.topic].Partitions)
	}
	for i := range m.image.byID[m.topic].Partitions {
		p := &m.image.byID[m.topic].Partitions[i]
		if _, led := m.image.Leader(p); !led && slices.ContainsFunc(p.Members(), m.image.live) {
			t.Fatalf("nobody leads, and a member lives: %+v", p)
		}
		for _, id := range p.ELR {
			if slices.Contains(p.ISR, id) || len(p.ISR) >= min(m.minISR, len(p.Replicas)) {
				t.Fatalf("broker %d is eligible: %+v, minimum %d", id, p, m.minISR)
			}
		}
	}
	for id := range m.image.Brokers {
		if m.image.Brokers[id].Stopping && !m.image.Drained(id) {
			t.Fatalf("broker %d is not drained: %+v", id, m.image.byID[m.topic].Partitions)
		}
	}
}

// write applies one write and checks it.
func (m *planMachine) write(t *rapid.T, c Change) {
	if len(c.Ops) != 1 {
		t.Fatalf("%d operations for one partition", len(c.Ops))
	}
	before, _ := m.image.byID[m.topic].Partition(c.Partition.Partition)
	r := m.next()
	m.apply(t, Event{KV: KV{Key: c.Ops[0].Key, Value: c.Ops[0].Value, CreateRevision: 1, ModRevision: r}})
	after, _ := m.image.byID[m.topic].Partition(c.Partition.Partition)
	if err := m.check(before, after); err != nil {
		t.Fatalf("%s: %v\nbefore %+v\nafter  %+v\nbrokers %+v", c.Reason, err, before, after, slices.Collect(maps.Values(m.image.Brokers)))
	}
}

func (m *planMachine) check(before, after *Partition) error {
	elected := before.Leader != after.Leader || before.LeaderBrokerEpoch != after.LeaderBrokerEpoch
	switch {
	case len(after.ISR) == 0 || len(after.ISREpochs) != len(after.ISR):
		return fmt.Errorf("the ISR is empty")
	case len(within(after.Members(), after.Replicas)) != len(after.ISR):
		return fmt.Errorf("the ISR is not within the replicas")
	case after.PartitionEpoch != before.PartitionEpoch+1:
		return fmt.Errorf("the partition epoch has not grown by one")
	case elected != (after.LeaderEpoch == before.LeaderEpoch+1) || !elected && after.LeaderEpoch != before.LeaderEpoch:
		return fmt.Errorf("the leader epoch does not go with the leader")
	case len(after.Replicas) == 0 || len(without(after.Adding, after.Replicas))+len(without(after.Removing, after.Replicas)) > 0:
		return fmt.Errorf("the replicas are not all of the reassignment's")
	}
	if !elected {
		return nil
	}
	leader := Member{Broker: after.Leader, Epoch: after.LeaderBrokerEpoch}
	if !slices.Contains(after.Members(), leader) || !m.image.live(leader) {
		return fmt.Errorf("the new leader is not a live member")
	}
	_, inSync := memberOf(before.Members(), leader.Broker)
	eligible, inELR := memberOf(before.EligibleMembers(), leader.Broker)
	if !m.unclean && !inSync && (!inELR || !m.image.survived(eligible)) {
		return fmt.Errorf("unclean election of %d", leader.Broker)
	}
	if old, _ := memberOf(before.Members(), leader.Broker); inSync && !m.image.survived(old) && slices.ContainsFunc(before.Members(), m.image.survived) {
		return fmt.Errorf("%d has crashed, and others have not", leader.Broker)
	}
	return nil
}

func TestPlanKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &planMachine{image: newImage(), revision: 10, dead: map[int32]int64{}, minISR: 1, topic: TopicID{1}}
		for id := range int32(planBrokers) {
			m.apply(t, put(brokerKey(id+1), brokerValue{}, m.next()))
		}
		const partitions = 4
		placed, err := place(m.image, partitions, rapid.Int16Range(1, 4).Draw(t, "factor"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for n, p := range newPartitions(m.image, placed, 1) {
			r := m.next()
			m.apply(t, Event{KV: KV{Key: partitionKey(m.topic, int32(n)), Value: p.encode(), CreateRevision: r, ModRevision: r}})
		}
		m.apply(t, put(topicKey("a"), topicValue{V: 1, ID: m.topic, Partitions: partitions}, m.next()))
		t.Repeat(map[string]func(*rapid.T){
			"event": m.event, "events": m.event, "propose": m.propose, "plan": m.plan, "reassign": m.reassign,
		})
	})
}
