package metadata

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// Reassignment gives a partition other replicas.
type Reassignment struct {
	TopicPartition
	// Replicas are the target, in order of preference.
	Replicas []int32
	// Cancel takes back the reassignment in progress; Replicas is ignored.
	Cancel bool
	// AllowFactorChange allows a target with another number of replicas (KIP-860).
	AllowFactorChange bool
}

// PartitionReassignment is a reassignment in progress.
type PartitionReassignment struct {
	TopicPartition
	Replicas, Adding, Removing []int32
}

// AlterPartitionReassignments begins, replaces and cancels reassignments, each by itself, and
// returns one error per reassignment in their order. It returns when this broker's image shows that
// they have begun. The controller completes a reassignment when all replicas of the target are in
// sync; until then the replicas to be removed stay.
//
// A replica that a cancelled or replaced reassignment was adding is removed at once if
// min.insync.replicas of the others are in sync. If not, it stays, in both Adding and Removing,
// until they are.
func (a *Admin) AlterPartitionReassignments(ctx context.Context, reassignments []Reassignment) []error {
	tps := make([]TopicPartition, len(reassignments))
	for i, r := range reassignments {
		tps[i] = r.TopicPartition
	}
	errs := a.alterPartitions(ctx, tps, func(image *Image, i int, p *Partition) (Partition, []kv.Comparison, error) {
		next, err := reassign(image, p, reassignments[i], a.minISR(image, tps[i].Topic))
		return next, nil, err
	})
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("reassign %s: %w", tps[i], err)
		}
	}
	return errs
}

// ListReassignments returns the reassignments in progress of the given partitions, in their order.
// If tps is nil it returns those of all partitions, by topic name and partition.
func (a *Admin) ListReassignments(tps []TopicPartition) []PartitionReassignment {
	image := a.loader.Image()
	if tps == nil {
		tps = image.allPartitions()
	}
	var all []PartitionReassignment
	for _, tp := range tps {
		p, ok := image.Partition(tp)
		if ok && len(p.Adding)+len(p.Removing) > 0 {
			all = append(all, PartitionReassignment{TopicPartition: tp, Replicas: p.Replicas, Adding: p.Adding, Removing: p.Removing})
		}
	}
	return all
}

// allPartitions returns the partitions of all topics, by topic name and partition.
func (m *Image) allPartitions() []TopicPartition {
	var all []TopicPartition
	for _, name := range m.TopicNames() {
		t, _ := m.byName.get(name)
		for i := range t.Partitions {
			all = append(all, TopicPartition{Topic: name, Partition: int32(i)})
		}
	}
	return all
}

// reassign returns the state of a partition after a reassignment begins or is cancelled.
func reassign(image *Image, p *Partition, r Reassignment, minISR int) (Partition, error) {
	original := without(p.Replicas, p.Adding)
	target := r.Replicas
	switch {
	case r.Cancel && len(p.Adding)+len(p.Removing) == 0:
		return *p, ErrNoReassignment
	case r.Cancel && p.lives(image, p.Adding) && !p.lives(image, original):
		return *p, refuse(ErrInvalidReplicaAssignment, "no replica from before the reassignment is in sync and alive")
	case r.Cancel:
		target = original
	default:
		if err := checkTarget(image, p, r); err != nil {
			return *p, err
		}
		if !r.AllowFactorChange && len(target) != len(original) {
			return *p, refuse(ErrInvalidReplicationFactor, "the replication factor is changed from %d to %d", len(original), len(target))
		}
	}
	next := *p
	next.Adding, next.Removing = without(target, original), without(original, target)
	// abandoned are the replicas that the earlier reassignment was adding and this one is not.
	if abandoned := without(p.Adding, target); !next.drop(image, abandoned, target, minISR) {
		next.Adding, next.Removing = slices.Concat(next.Adding, abandoned), slices.Concat(next.Removing, abandoned)
	}
	next.Replicas = slices.Concat(target, next.Removing)
	next.fenceRemoved(p)
	return next, nil
}

// checkTarget validates the target of a reassignment. New replicas must be live. As in Kafka,
// present ones need not be.
func checkTarget(image *Image, p *Partition, r Reassignment) error {
	assignable := maps.Clone(image.Brokers)
	for _, id := range p.Replicas {
		assignable[id] = Broker{ID: id}
	}
	return checkAssignment(assignable, r.Replicas, 0)
}

// lives reports whether one of the brokers is an in-sync replica and live.
func (p *Partition) lives(image *Image, brokers []int32) bool {
	return slices.ContainsFunc(within(p.Members(), brokers), image.Live)
}

// drop removes brokers from the ISR and the ELR, and elects another leader if one of them leads. If
// too few live replicas would stay in the ISR, it changes nothing and returns false.
func (p *Partition) drop(image *Image, brokers, target []int32, minISR int) bool {
	gone := func(m Member) bool { return slices.Contains(brokers, m.Broker) }
	if !slices.ContainsFunc(p.Members(), gone) && !slices.ContainsFunc(p.EligibleMembers(), gone) {
		return !slices.Contains(brokers, p.Leader)
	}
	isr := slices.DeleteFunc(p.Members(), gone)
	if !enough(filter(isr, image.Live), target, minISR) {
		return false
	}
	p.setISR(isr)
	p.setELR(slices.DeleteFunc(p.EligibleMembers(), gone))
	p.lead(image, isr, false)
	return true
}
