package metadata

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// ElectionRules are what an election heeds besides the image.
type ElectionRules struct {
	MinISR  int                // min.insync.replicas of the topic
	Unclean bool               // unclean.leader.election.enable of the topic
	Doubt   func(Member) Doubt // what is thought of a registration; nil: NoDoubt of all
	LogEnds LogEnds            // of the replicas, for an unclean election
}

// Repaired is what a partition has to become.
type Repaired struct {
	Partition
	Reason   string   // empty: the partition stays as it is
	balances bool     // leadership goes back to the preferred replica
	Unclean  bool     // a replica is elected that may lack what was committed
	Asks     []Member // nil, or the replicas the ends of whose logs an unclean election waits for
	Doubts   []Member // which must be probed before anything can be decided
}

// Repair is what a partition has to become as of an image: its ISR without
// those that do not count any more, a reassignment completed if it can be,
// a leader that is alive, and the ELR that follows from all that. p itself is not changed.
//
//   - A member of the ISR whose broker is dead, has registered again, or has lost the
//     directory of the log, leaves the ISR; so does one that stops, if there are others.
//     The ISR never becomes empty.
//   - A partition whose leader is not a member any more gets the first one that is, in
//     order of preference. See survivors for who may lead if there is none, and
//     followELR for who stays eligible.
//   - Every election is a new leader epoch, even of the same broker: what it did not
//     flush before it died may be gone, and its followers have to learn that. A
//     change of the ISR alone is none. Nor does a removed replica go without one, see
//     fenceRemoved.
//   - A reassignment is completed when all of its target is in sync.
func Repair(image *Image, p *Partition, rules ElectionRules) Repaired {
	next := Repaired{Partition: *p}
	s := survivors(image, p, rules)
	if s.undecided {
		next.Doubts = s.doubts
		return next
	}
	if s.asks {
		next.Asks = image.askable(p)
	}
	isr := s.isr
	if target, ok := completion(image, p, isr); ok {
		next.Replicas, next.Adding, next.Removing = target, nil, nil
		isr = within(isr, target)
		next.Reason = "the reassignment is complete"
	}
	next.setISR(isr)
	if moved := next.lead(image, isr, s.elects); moved != "" {
		next.Reason = moved
	}
	if s.reason != "" {
		next.Reason = s.reason
	}
	next.fenceRemoved(p)
	next.followELR(image, p, rules.MinISR)
	if s.unclean {
		next.giveUp()
	}
	switch {
	case next.same(p):
		return Repaired{Partition: *p, Asks: next.Asks}
	case next.Reason == "":
		next.Reason = "the in-sync replicas changed"
	}
	next.PartitionEpoch++
	return next
}

// Rebalance gives the leadership back to the preferred replica, and reports whether that
// could lead and does not. All that one write does is one new leader epoch.
func (r *Repaired) Rebalance(image *Image, before *Partition) bool {
	why := r.leadPreferred(image)
	if why == "" {
		return false
	}
	r.LeaderEpoch = before.LeaderEpoch + 1
	if r.Reason == "" {
		r.PartitionEpoch++
	}
	r.Reason, r.balances = why, true
	return true
}

// Change is what has to be written, if anything, so that a partition becomes this.
func (r *Repaired) Change(t *Topic, number int32, before *Partition) (Change, bool) {
	if r.Reason == "" {
		return Change{}, false
	}
	c := t.write(number, before, &r.Partition, r.Reason)
	c.Unclean, c.Balance = r.Unclean, r.balances
	return c, true
}

// giveUp notes that the leader was elected uncleanly: what others were eligible for
// has been given up.
func (r *Repaired) giveUp() {
	r.Unclean, r.UncleanEpoch = true, r.LeaderEpoch
	r.setELR(nil)
}

// WellLed reports, without allocating, that there is nothing to repair.
func WellLed(image *Image, p *Partition) bool {
	if len(p.Adding)+len(p.Removing)+len(p.ELR) > 0 || len(p.ISR) == 0 || len(p.ISREpochs) != len(p.ISR) {
		return false
	}
	leads := false
	for i, id := range p.ISR {
		m := memberAt(p.ISR, p.ISREpochs, p.ISRDirectories, i)
		if !image.active(m) || !slices.Contains(p.Replicas, id) {
			return false
		}
		leads = leads || id == p.Leader && m.Epoch == p.LeaderBrokerEpoch
	}
	return leads
}

// candidate is the first of ms in the order of the replicas, at its present
// epoch; a broker that stops only if there is no other.
func candidate(image *Image, p *Partition, ms []Member) (Member, bool) {
	var stopping Member
	found := false
	for _, id := range p.Replicas {
		m, ok := memberOf(ms, id)
		if !ok {
			continue
		}
		m, _ = image.present(m)
		if !image.Brokers[id].InControlledShutdown {
			return m, true
		}
		if !found {
			stopping, found = m, true
		}
	}
	return stopping, found
}

// completion returns the target of a reassignment if it can be completed: all of the
// target is in sync, as in Kafka.
func completion(image *Image, p *Partition, isr []Member) (target []int32, ok bool) {
	if len(p.Adding)+len(p.Removing) == 0 {
		return nil, false
	}
	target = without(p.Replicas, p.Removing)
	return target, len(within(filter(isr, image.Live), target)) == len(target)
}

// enough reports whether kept, the in-sync members that stay, are as many as an
// acknowledgement has promised for each record. With fewer, a replica that a cancelled
// reassignment was adding is needed: it may have the only other copy.
func enough(kept []Member, target []int32, minISR int) bool {
	return len(kept) >= min(max(minISR, 1), len(target))
}

// lead elects a member of the ISR unless the present leader is one and lives.
// It returns why, or nothing. always says that isr's only member was chosen.
func (p *Partition) lead(image *Image, isr []Member, always bool) string {
	if m, ok := memberOf(isr, p.Leader); ok && m.Epoch == p.LeaderBrokerEpoch && !always {
		return ""
	}
	m, ok := candidate(image, p, filter(isr, image.Live))
	if !ok {
		return "" // nobody lives
	}
	why := fmt.Sprintf("leader %d has to be replaced", p.Leader)
	p.elect(m)
	return why
}

// elect makes a member the leader of the next leader epoch.
func (p *Partition) elect(m Member) {
	p.Leader, p.LeaderBrokerEpoch = m.Broker, m.Epoch
	p.LeaderEpoch++
}

// fenceRemoved begins a new leader epoch if replicas were removed and the leader stays. One that
// does not know yet that it was removed still fetches as a replica. Were it added again
// before it knows, its fetches would bring it into the ISR with a log that it is about to delete.
func (p *Partition) fenceRemoved(before *Partition) {
	if p.LeaderEpoch == before.LeaderEpoch && len(without(before.Replicas, p.Replicas)) > 0 {
		p.LeaderEpoch++
	}
}

// followELR makes the ELR of p, whose ISR is new, from what the partition was
// before (KIP-966). While the ISR is smaller than the minimum, whoever leaves it
// stays eligible, since nothing is committed until it has grown again, except
// one that comes back after a crash of its machine, or without the log's directory:
// it may have lost something. Nor is anything committed while nobody leads, so that
// a lower minimum makes nobody less eligible then.
func (p *Partition) followELR(image *Image, before *Partition, minISR int) {
	_, led := image.Leader(p)
	if led && len(p.ISR) >= min(max(minISR, 1), len(p.Replicas)) {
		p.setELR(nil)
		return
	}
	var elr []Member
	for _, m := range slices.Concat(before.EligibleMembers(), before.Members()) {
		if m.Epoch == 0 || slices.Contains(p.ISR, m.Broker) || !slices.Contains(p.Replicas, m.Broker) {
			continue
		}
		if present, registered := image.present(m); registered {
			if !image.lostNothing(m) {
				continue
			}
			m = present
		}
		if _, twice := memberOf(elr, m.Broker); !twice {
			elr = append(elr, m)
		}
	}
	p.setELR(elr)
}

// same tells that two states differ in nothing that is written down.
func (p *Partition) same(q *Partition) bool {
	return p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch && p.LeaderBrokerEpoch == q.LeaderBrokerEpoch &&
		slices.Equal(p.Replicas, q.Replicas) && slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing) &&
		slices.Equal(p.Members(), q.Members()) && slices.Equal(p.EligibleMembers(), q.EligibleMembers())
}

func filter(ms []Member, keep func(Member) bool) []Member {
	return slices.DeleteFunc(slices.Clone(ms), func(m Member) bool { return !keep(m) })
}

// within are the members whose broker is one of ids.
func within(ms []Member, ids []int32) []Member {
	return filter(ms, func(m Member) bool { return slices.Contains(ids, m.Broker) })
}

// without are the ids that are not among others, in their order.
func without(ids, others []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return slices.Contains(others, id) })
}

// PreferredLeader is the partition's preferred leader.
func (p *Partition) PreferredLeader() int32 {
	if len(p.Replicas) == 0 {
		return NoBroker
	}
	return p.Replicas[0]
}

// leadPreferred elects the preferred leader if it could lead and does not. It
// returns why, or nothing.
func (p *Partition) leadPreferred(image *Image) string {
	m, ok := memberOf(p.Members(), p.PreferredLeader())
	if !ok || !image.active(m) || p.Leader == m.Broker {
		return ""
	}
	why := fmt.Sprintf("preferred replica %d takes over from %d", m.Broker, p.Leader)
	p.elect(m)
	return why
}

// write is the change that makes a partition's next state of its present one.
func (t *Topic) write(number int32, p, next *Partition, reason string) Change {
	key := partitionKey(t.ID, number)
	return Change{
		Partition: TopicPartition{Topic: t.Name, Partition: number}, Reason: reason,
		Guards: []kv.Comparison{kv.ModifiedAt(key, p.Revision)},
		Ops:    []kv.Op{kv.Put(key, next.encode())},
	}
}
