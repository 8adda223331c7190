package metadata

import (
	"context"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// ISRChange is the ISR that a leader proposes for a partition.
type ISRChange struct {
	TopicID   TopicID
	Partition int32
	// LeaderEpoch and PartitionEpoch are those of the state that the proposal is based on.
	LeaderEpoch, PartitionEpoch int32
	// ISR is the proposed ISR; it contains the leader. A proposal may change only the directories
	// of members: the leader knows its own, and its followers report theirs. A leader whose own
	// directory has failed proposes itself with that directory, and so gives up the leadership.
	ISR []Member
}

// AlterISR writes proposals of the leader self, many to a transaction, and returns one error per
// change in their order. It does not wait for the image. The errors are
//
//   - nil: the change is written;
//   - ErrConflict: the partition or a registration has changed, which the image will show;
//   - ErrIneligibleReplica, which is an ErrConflict as well: a broker in controlled shutdown
//     would join;
//   - ErrUnavailable: the change may have been written or not.
//
// Each write compares the partition's revision, the registration of self, and the registrations of
// the members that join: a broker that has restarted is not the one that caught up (KIP-903).
func (a *Admin) AlterISR(ctx context.Context, self Member, changes []ISRChange) []error {
	image := a.loader.Image()
	errs := make([]error, len(changes))
	proposed := make(map[string]bool, len(changes))
	var writes []Change
	var at []int // the index in changes of each write
	for i, c := range changes {
		write, err := a.proposal(image, self, c)
		switch key := partitionKey(c.TopicID, c.Partition); {
		case err != nil:
			errs[i] = fmt.Errorf("alter the ISR of %s-%d: %w", c.TopicID, c.Partition, err)
		case proposed[key]: // it would be based on a state that is replaced
			errs[i] = fmt.Errorf("alter the ISR of %s-%d twice: %w", c.TopicID, c.Partition, kv.ErrConflict)
		default:
			proposed[key] = true
			writes, at = append(writes, write), append(at, i)
		}
	}
	_, written := WriteAll(ctx, a.store, []kv.Comparison{registered(self)}, writes)
	for i, err := range written {
		if err != nil {
			errs[at[i]] = fmt.Errorf("alter the ISR of %s: %w", writes[i].Partition, err)
		}
	}
	return errs
}

// sameBroker reports whether two members are the same registration, in whatever directory.
func (m Member) sameBroker(o Member) bool { return m.Broker == o.Broker && m.Epoch == o.Epoch }

// registered compares that the member's broker still has the registration of that epoch.
func registered(m Member) kv.Comparison { return kv.CreatedAt(brokerKey(m.Broker), m.Epoch) }

// proposal checks an ISRChange against the image and returns the change to write.
func (a *Admin) proposal(image *Image, self Member, c ISRChange) (Change, error) {
	t, ok := image.TopicByID(c.TopicID)
	if !ok {
		return Change{}, fmt.Errorf("the topic is gone: %w", kv.ErrConflict)
	}
	p, ok := t.Partition(c.Partition)
	switch {
	case !ok || p.Revision == 0:
		return Change{}, fmt.Errorf("the partition is gone: %w", kv.ErrConflict)
	case p.LeaderEpoch != c.LeaderEpoch || p.PartitionEpoch != c.PartitionEpoch:
		return Change{}, fmt.Errorf("the image has leader epoch %d and partition epoch %d, not %d and %d: %w",
			p.LeaderEpoch, p.PartitionEpoch, c.LeaderEpoch, c.PartitionEpoch, kv.ErrConflict)
	case p.Leader != self.Broker || p.LeaderBrokerEpoch != self.Epoch || self.Epoch == 0:
		return Change{}, fmt.Errorf("broker %d at epoch %d is not the leader: %w", self.Broker, self.Epoch, kv.ErrConflict)
	case !slices.ContainsFunc(c.ISR, self.sameBroker):
		return Change{}, fmt.Errorf("%w: the leader is not in the ISR that it proposes", ErrInvalidRequest)
	}
	guards := []kv.Comparison{kv.ModifiedAt(partitionKey(t.ID, c.Partition), p.Revision)}
	before := p.Members()
	seen := make(map[int32]bool, len(c.ISR))
	for _, m := range c.ISR {
		switch {
		case seen[m.Broker]:
			return Change{}, fmt.Errorf("%w: replica %d is in the ISR twice", ErrInvalidRequest, m.Broker)
		case !slices.Contains(p.Replicas, m.Broker):
			return Change{}, fmt.Errorf("%w: broker %d is not a replica", ErrInvalidRequest, m.Broker)
		}
		seen[m.Broker] = true
		switch {
		case slices.Contains(before, m), self.sameBroker(m):
			continue // also for the leader with a failed directory
		case !image.Live(m) || m.Epoch == 0:
			return Change{}, fmt.Errorf("broker %d is not registered at epoch %d, or its directory has failed: %w", m.Broker, m.Epoch, kv.ErrConflict)
		case image.Brokers[m.Broker].InControlledShutdown:
			return Change{}, fmt.Errorf("%w: broker %d is stopping: %w", ErrIneligibleReplica, m.Broker, kv.ErrConflict)
		}
		guards = append(guards, registered(m))
	}
	next := *p
	next.setISR(c.ISR)
	next.followELR(image, p, a.minISR(image, t.Name))
	next.PartitionEpoch++
	return Change{
		Partition: TopicPartition{Topic: t.Name, Partition: c.Partition},
		Reason:    "the leader changes the ISR",
		Guards:    guards,
		Ops:       []kv.Op{kv.Put(partitionKey(t.ID, c.Partition), next.encode())},
	}, nil
}
