package metadata

import (
	"cmp"
	"slices"
)

// Change is one step that the controller takes. All its comparisons hold in
// the image it was planned on; if they do not in the store, that image is old.
type Change struct {
	Partition TopicPartition // what it is about, for logs; Topic is empty for a cleanup
	Reason    string
	Unclean   bool // elects a replica that may lack what was committed
	Balance   bool // gives leadership back to the preferred replica
	Guards    []Comparison
	Ops       []Op
}

// PlanOptions are what Plan goes by besides the image. The functions must be
// pure.
type PlanOptions struct {
	// Abandoned are the unfinished creations that the controller has seen make no
	// progress for a while, with the revisions of their markers.
	Abandoned map[TopicID]int64
	// MinISR is min.insync.replicas of a topic; nil means 1 for every topic.
	MinISR func(image *Image, topic string) int
	// UncleanElection is unclean.leader.election.enable of a topic; nil means no.
	UncleanElection func(image *Image, topic string) bool
	// Rebalance says that it is time to give leadership back to the preferred
	// replicas of every broker that leads too few of its own: more than
	// ImbalancePercent of the partitions that prefer it are led by others.
	Rebalance        bool
	ImbalancePercent int
	// Doubt is what is thought of a registration; nil means NoDoubt of all.
	Doubt func(Member) Doubt
	// LogEnds are the answers for partitions that wait for an unclean election, see Ask.
	LogEnds map[TopicPartition]LogEnds
}

// repairs returns repair for the partitions of one topic. Nearly always there is
// nothing to repair, so that the settings are looked up only when they matter.
func (o PlanOptions) repairs(image *Image, t *Topic) func(number int32, p *Partition) repaired {
	rules, known := electionRules{minISR: 1, doubt: o.Doubt}, false
	return func(number int32, p *Partition) repaired {
		if wellLed(image, p) {
			return repaired{Partition: *p}
		}
		if !known {
			known = true
			if o.MinISR != nil {
				rules.minISR = o.MinISR(image, t.Name)
			}
			if o.UncleanElection != nil {
				rules.unclean = o.UncleanElection(image, t.Name)
			}
		}
		rules.ends = o.LogEnds[TopicPartition{Topic: t.Name, Partition: number}]
		return repair(image, p, rules)
	}
}

// Plan tells what the controller has to change in the cluster as of an image. It
// is a pure function, so that a new controller simply goes on; what it
// returns is in a stable order. An image that shows all of it needs nothing more.
//
//   - A member of the ISR whose broker is dead, has registered again, or has lost the
//     directory of the log, leaves the ISR; so does one that stops, if there are others.
//     The ISR never becomes empty.
//   - A partition whose leader is not a member any more gets the first one that is, in
//     order of preference. See survivors for who may lead if there is none, and
//     followELR for who stays eligible.
//   - Every election is a new leader epoch, even of the same broker: what it did not
//     flush before it died may be gone, and its followers have to learn that. A
//     change of the ISR alone is none.
//   - A reassignment is completed when the replicas that it adds are in sync, and as
//     many of its target as min.insync.replicas asks.
//   - Leadership goes back to preferred replicas when that is due, of a bounded number of
//     partitions in a plan.
//   - Partition keys of a creation that broke off go after a grace period, unless the
//     image is incomplete. Many take several plans.
//
// All that happens to a partition is one write.
func Plan(image *Image, o PlanOptions) []Change {
	return plan(image, o).changes
}

// planned is a plan, and what has to be found out before more can be planned.
type planned struct {
	changes []Change
	asks    []Ask
	doubts  []Member
}

// Ask is a partition that is to be led by the replica whose log goes furthest: an
// unclean election. It waits for the ends of the logs, which are PlanOptions.LogEnds
// of the next plan.
type Ask struct {
	TopicPartition
	Replicas []Member // which are there
}

func plan(image *Image, o PlanOptions) (all planned) {
	topics := sortedTopics(image)
	var imbalanced map[int32]bool
	if o.Rebalance {
		imbalanced = imbalance(image, topics, o)
	}
	balanced := 0
	for _, t := range topics {
		repaired := o.repairs(image, t)
		for number, p := range t.Partitions {
			if p.Revision == 0 {
				continue // the key is missing: nothing to guard, nothing to lead
			}
			next := repaired(int32(number), p)
			all.doubts = append(all.doubts, next.doubts...)
			if next.asks {
				all.asks = append(all.asks, Ask{TopicPartition{t.Name, int32(number)}, image.askable(p)})
			}
			balance := ""
			if balanced < maxBalance && imbalanced[preferred(&next.Partition)] {
				balance = next.leadPreferred(image)
			}
			if balance != "" {
				if next.reason == "" {
					next.PartitionEpoch++
				}
				next.reason = balance
				balanced++
			}
			if next.reason != "" {
				c := t.write(int32(number), p, &next.Partition, next.reason)
				c.Unclean, c.Balance = next.unclean, balance != ""
				all.changes = append(all.changes, c)
			}
		}
	}
	all.changes = append(all.changes, cleanUps(image, o)...)
	return all
}

// write is the change that makes a partition's next state of its present one.
func (t *Topic) write(number int32, p, next *Partition, reason string) Change {
	key := partitionKey(t.ID, number)
	return Change{
		Partition: TopicPartition{Topic: t.Name, Partition: number}, Reason: reason,
		Guards: []Comparison{ModifiedAt(key, p.Revision)},
		Ops:    []Op{Put(key, next.encode())},
	}
}

func sortedTopics(image *Image) []*Topic {
	topics := make([]*Topic, 0, image.byID.len())
	for _, t := range image.byID.all() {
		topics = append(topics, t)
	}
	slices.SortFunc(topics, func(a, b *Topic) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
	})
	return topics
}
