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
	// Cancel takes back a reassignment that is under way; Replicas is not looked at.
	Cancel bool
	// AllowFactorChange lets the target have another number of replicas (KIP-860).
	AllowFactorChange bool
}

// PartitionReassignment is a reassignment that is under way.
type PartitionReassignment struct {
	TopicPartition
	Replicas, Adding, Removing []int32
}

// AlterPartitionReassignments begins, replaces and cancels reassignments, each
// by itself, and returns one error per reassignment in their order. It returns
// when this broker's image shows them as begun; Plan completes them. Replicas
// that are added first catch up, and those that are removed stay until then.
func (a *Admin) AlterPartitionReassignments(ctx context.Context, reassignments []Reassignment) []error {
	tps := make([]TopicPartition, len(reassignments))
	for i, r := range reassignments {
		tps[i] = r.TopicPartition
	}
	errs := a.alterPartitions(ctx, tps, func(image *Image, i int, p *Partition) (Partition, []kv.Comparison, error) {
		next, err := reassign(image, p, reassignments[i])
		return next, nil, err
	})
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("reassign %s: %w", tps[i], err)
		}
	}
	return errs
}

// ListReassignments are the reassignments that are under way, of the given
// partitions or, if that is nil, of all, in a stable order.
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

// allPartitions are the partitions of all topics, in order.
func (m *Image) allPartitions() []TopicPartition {
	var all []TopicPartition
	for _, name := range m.TopicNames() {
		for i := range m.byName[name].Partitions {
			all = append(all, TopicPartition{Topic: name, Partition: int32(i)})
		}
	}
	return all
}

// reassign makes the state of a partition when a reassignment begins or is
// cancelled.
func reassign(image *Image, p *Partition, r Reassignment) (Partition, error) {
	next := *p
	if r.Cancel {
		if len(p.Adding)+len(p.Removing) == 0 {
			return next, ErrNoReassignment
		}
		next.Replicas, next.Adding, next.Removing = without(p.Replicas, p.Adding), nil, nil
		if !next.drop(image, p.Adding) {
			return next, fmt.Errorf("%w: no replica from before the reassignment is in sync and alive", ErrInvalidReplicaAssignment)
		}
		return next, nil
	}
	original := without(p.Replicas, p.Adding)
	if err := checkTarget(image, p, r); err != nil {
		return next, err
	}
	if !r.AllowFactorChange && len(r.Replicas) != len(original) {
		return next, fmt.Errorf("%w: the replication factor is changed from %d to %d", ErrInvalidReplicationFactor, len(original), len(r.Replicas))
	}
	next.Adding, next.Removing = without(r.Replicas, original), without(original, r.Replicas)
	// What an earlier reassignment was adding, and this one does not, goes at once,
	// unless the partition lives on that alone.
	abandoned := without(p.Adding, r.Replicas)
	if !next.drop(image, abandoned) {
		next.Removing = append(next.Removing, abandoned...)
	}
	next.Replicas = slices.Concat(r.Replicas, next.Removing)
	return next, nil
}

// checkTarget validates the replicas that a partition shall get. As in Kafka a
// replica that it has already may be dead.
func checkTarget(image *Image, p *Partition, r Reassignment) error {
	known := maps.Clone(image.Brokers)
	for _, id := range p.Replicas {
		known[id] = Broker{ID: id}
	}
	return checkAssignment(known, r.Replicas, 0)
}

// drop takes brokers out of the ISR and the ELR, and moves the leadership off
// them. If nobody alive would be left it changes nothing and returns false.
func (p *Partition) drop(image *Image, brokers []int32) bool {
	gone := func(m Member) bool { return slices.Contains(brokers, m.Broker) }
	if !slices.ContainsFunc(p.Members(), gone) && !slices.ContainsFunc(p.EligibleMembers(), gone) {
		return !slices.Contains(brokers, p.Leader)
	}
	isr := slices.DeleteFunc(p.Members(), gone)
	if !slices.ContainsFunc(isr, image.Live) {
		return false
	}
	p.setISR(isr)
	p.setELR(slices.DeleteFunc(p.EligibleMembers(), gone))
	p.lead(image, isr, false)
	return true
}
