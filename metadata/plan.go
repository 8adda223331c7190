package metadata

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// creationGrace is for how long partition keys may wait for their topic.
const creationGrace = time.Minute

// Change is one step that the controller takes. All its comparisons hold in
// the image it was planned on; if they do not in the store, that image is old.
type Change struct {
	Partition TopicPartition // what it is about, for logs; Topic is empty for a cleanup
	Reason    string
	Guards    []Comparison
	Ops       []Op
}

// Plan tells what the controller has to change in the cluster as of an image. It
// is a pure function, so that a new controller simply goes on; what it
// returns is in a stable order.
//
//   - A leader that registered anew since its election is elected again under the next
//     leader epoch: what it did not flush before it died may be gone, and its
//     followers have to learn that.
//   - A partition whose leader is dead gets the first live replica in the ISR, in order
//     of preference. With none it stays as it is: whoever of the ISR comes back
//     first leads.
//   - Partition keys of a creation that broke off go after a grace period.
func Plan(image *Image, now time.Time) []Change {
	var changes []Change
	for _, t := range sortedTopics(image) {
		for number := range t.Partitions {
			tp := TopicPartition{Topic: t.Name, Partition: int32(number)}
			if c, ok := elect(image, t.ID, tp, &t.Partitions[number]); ok {
				changes = append(changes, c)
			}
		}
		if c, ok := cleanUp(t, now); ok {
			changes = append(changes, c)
		}
	}
	return changes
}

func sortedTopics(image *Image) []*Topic {
	topics := make([]*Topic, 0, len(image.byID))
	for _, t := range image.byID {
		topics = append(topics, t)
	}
	slices.SortFunc(topics, func(a, b *Topic) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
	})
	return topics
}

func elect(image *Image, id TopicID, tp TopicPartition, p *Partition) (Change, bool) {
	if p.Revision == 0 {
		return Change{}, false // the key is missing: nothing to guard, nothing to lead
	}
	if _, ok := image.Leader(p); ok {
		return Change{}, false
	}
	next := *p
	var reason string
	if same, ok := image.Brokers[p.Leader]; ok {
		next.LeaderBrokerEpoch = same.Epoch
		reason = "the leader registered anew"
	} else {
		at := slices.IndexFunc(p.Replicas, func(r int32) bool {
			_, live := image.Brokers[r]
			return live && slices.Contains(p.ISR, r)
		})
		if at < 0 {
			return Change{}, false
		}
		next.Leader = p.Replicas[at]
		next.LeaderBrokerEpoch = image.Brokers[next.Leader].Epoch
		reason = fmt.Sprintf("leader %d is not alive", p.Leader)
	}
	next.LeaderEpoch++
	next.PartitionEpoch++
	key := partitionKey(id, tp.Partition)
	return Change{
		Partition: tp, Reason: reason,
		Guards: []Comparison{ModifiedAt(key, p.Revision)},
		Ops:    []Op{Put(key, next.encode())},
	}, true
}

// cleanUp removes partition keys that no topic counts.
func cleanUp(t *Topic, now time.Time) (Change, bool) {
	extra := t.all[len(t.Partitions):]
	var newest int64
	for _, p := range extra {
		newest = max(newest, p.createdMs)
	}
	if newest == 0 || now.Sub(time.UnixMilli(newest)) < creationGrace {
		return Change{}, false
	}
	if t.pending() {
		// Partition 0 is what a creation compares, see Admin.create.
		prefix := partitionsPrefix + t.ID.String() + "/"
		return Change{
			Reason: "the topic's creation broke off",
			Guards: []Comparison{ModifiedAt(prefix+"0", t.all[0].Revision)},
			Ops:    []Op{DeletePrefix(prefix)},
		}, true
	}
	// The topic's key is written again, which makes an addition that is still
	// under way fail and start over.
	key := topicKey(t.Name)
	c := Change{
		Reason: "an addition of partitions broke off",
		Guards: []Comparison{ModifiedAt(key, t.Revision)},
		Ops:    []Op{Put(key, encode(topicValue{V: valueVersion, ID: t.ID, Partitions: t.count, CreatedMs: t.createdMs}))},
	}
	for i, p := range extra {
		if p.Revision != 0 && len(c.Ops) < MaxTxnOps {
			c.Ops = append(c.Ops, Delete(partitionKey(t.ID, int32(len(t.Partitions)+i))))
		}
	}
	return c, true
}
