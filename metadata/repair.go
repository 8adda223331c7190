package metadata

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// ElectionRules are the inputs of an election besides the image and the partition.
type ElectionRules struct {
	MinISR  int                // min.insync.replicas of the topic
	Unclean bool               // unclean.leader.election.enable of the topic
	Doubt   func(Member) Doubt // of a registration; nil: none is in doubt
	LogEnds LogEnds            // of the replicas, for an unclean election
}

// Repaired is the state that a partition has to become.
type Repaired struct {
	Partition
	Reason   string   // empty: the partition stays as it is
	balances bool     // leadership returns to the preferred replica
	Unclean  bool     // the elected replica may lack committed records
	Asks     []Member // replicas whose log ends an unclean election needs; nil: none
	Doubts   []Member // members to be probed before the partition can change
}

// Repair returns the state that a partition has to become as of an image: its ISR, its leader, its
// ELR, and its replicas if a reassignment can be completed. It does not change p.
//
//   - A member leaves the ISR if its broker is fenced or has registered again, or if the
//     directory of its log has failed. A member in controlled shutdown leaves the ISR if
//     another member is active. The ISR never becomes empty.
//   - If the leader is no longer a member, the first member in order of preference is elected. See
//     survivors for elections without a live member, and followELR for the ELR.
//   - Each election begins a new leader epoch, even if the same broker leads again: records that it
//     did not flush before it died may be lost, and its followers must truncate theirs. So does a
//     removal of replicas, see fenceRemoved. A change of the ISR alone does not.
//   - A reassignment is completed when all replicas of its target are in sync.
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
	next.noteLoss(&s)
	switch {
	case next.same(p):
		return Repaired{Partition: *p, Asks: next.Asks}
	case next.Reason == "":
		next.Reason = "the in-sync replicas changed"
	}
	next.PartitionEpoch++
	return next
}

// Rebalance elects the preferred replica if it can lead and does not, and reports whether it did
// so. A repair and a rebalance in one write begin one new leader epoch, not two.
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

// Change returns the write that gives a partition this state. It returns false if there is nothing
// to write.
func (r *Repaired) Change(t *Topic, number int32, before *Partition) (Change, bool) {
	if r.Reason == "" {
		return Change{}, false
	}
	c := t.write(number, before, &r.Partition, r.Reason)
	c.Unclean, c.Balance = r.Unclean, r.balances
	return c, true
}

// noteLoss records that the elected replica may be missing records. After an unclean election the
// ELR becomes empty: its members may have records that the leader does not have.
func (r *Repaired) noteLoss(s *survival) {
	if s.lossy {
		r.LossyEpoch = r.LeaderEpoch
	}
	if s.unclean {
		r.Unclean, r.UncleanEpoch = true, r.LeaderEpoch
		r.setELR(nil)
	}
}

// WellLed reports whether a partition certainly needs no repair. It does not allocate. It may
// return false for a partition that Repair would not change.
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

// candidate returns the first of ms in the order of the replicas, with its present broker epoch. It
// returns a broker in controlled shutdown only if there is no other.
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

// completion returns the target of a reassignment. It returns false if no reassignment is in
// progress, or if a replica of the target is not in sync and live.
func completion(image *Image, p *Partition, isr []Member) (target []int32, ok bool) {
	if len(p.Adding)+len(p.Removing) == 0 {
		return nil, false
	}
	target = without(p.Replicas, p.Removing)
	return target, len(within(filter(isr, image.Live), target)) == len(target)
}

// enough reports whether kept, the in-sync members that stay, are at least min.insync.replicas (or
// the whole target, if that is smaller). If they are fewer, a replica that a cancelled reassignment
// was adding must stay: it may have the only other copy of a record that was acknowledged with
// acks=all.
func enough(kept []Member, target []int32, minISR int) bool {
	return len(kept) >= min(max(minISR, 1), len(target))
}

// lead elects a live member of the ISR if the leader is not a member. It returns the reason, "" if
// it elected none. If always is set, it elects even if the leader is a member.
func (p *Partition) lead(image *Image, isr []Member, always bool) string {
	if m, ok := memberOf(isr, p.Leader); ok && m.Epoch == p.LeaderBrokerEpoch && !always {
		return ""
	}
	m, ok := candidate(image, p, filter(isr, image.Live))
	if !ok {
		return "" // no member is live
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

// fenceRemoved begins a new leader epoch if replicas are removed and the leader stays. A removed
// replica fetches until its broker sees the removal. If the replica is added again before that,
// these fetches would bring it into the ISR with a log that it is about to delete. The leader
// rejects fetches of the old epoch.
func (p *Partition) fenceRemoved(before *Partition) {
	if p.LeaderEpoch == before.LeaderEpoch && len(without(before.Replicas, p.Replicas)) > 0 {
		p.LeaderEpoch++
	}
}

// followELR computes the ELR of p, whose ISR is new already, from the state before (KIP-966).
//
// While the ISR is smaller than min.insync.replicas nothing is committed. So a replica that leaves
// the ISR has all committed records, and becomes or stays eligible. It loses eligibility if it
// returns after a crash of its machine, or without the directory of the log: it may have lost
// records.
//
// The ELR becomes empty when the ISR has reached the minimum. A partition without a leader keeps
// its ELR, because nothing is committed there either: a lower minimum alone must not make its
// members ineligible.
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

// same reports whether two states have the same replicas, ISR, ELR and leader.
func (p *Partition) same(q *Partition) bool {
	return p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch && p.LeaderBrokerEpoch == q.LeaderBrokerEpoch &&
		slices.Equal(p.Replicas, q.Replicas) && slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing) &&
		slices.Equal(p.Members(), q.Members()) && slices.Equal(p.EligibleMembers(), q.EligibleMembers())
}

func filter(ms []Member, keep func(Member) bool) []Member {
	return slices.DeleteFunc(slices.Clone(ms), func(m Member) bool { return !keep(m) })
}

// within returns the members whose broker is one of ids.
func within(ms []Member, ids []int32) []Member {
	return filter(ms, func(m Member) bool { return slices.Contains(ids, m.Broker) })
}

// without returns the ids that are not among others, in their order.
func without(ids, others []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return slices.Contains(others, id) })
}

// PreferredLeader returns the partition's preferred leader, or NoBroker.
func (p *Partition) PreferredLeader() int32 {
	if len(p.Replicas) == 0 {
		return NoBroker
	}
	return p.Replicas[0]
}

// leadPreferred elects the preferred leader if it can lead and does not. It returns the reason, ""
// if it elected none.
func (p *Partition) leadPreferred(image *Image) string {
	m, ok := memberOf(p.Members(), p.PreferredLeader())
	if !ok || !image.active(m) || p.Leader == m.Broker {
		return ""
	}
	why := fmt.Sprintf("preferred replica %d takes over from %d", m.Broker, p.Leader)
	p.elect(m)
	return why
}

// write returns the change from a partition's present state, p, to its next one. It compares the
// revision of p.
func (t *Topic) write(number int32, p, next *Partition, reason string) Change {
	key := partitionKey(t.ID, number)
	return Change{
		Partition: TopicPartition{Topic: t.Name, Partition: number}, Reason: reason,
		Guards: []kv.Comparison{kv.ModifiedAt(key, p.Revision)},
		Ops:    []kv.Op{kv.Put(key, next.encode())},
	}
}
