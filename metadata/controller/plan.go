package controller

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// PlanOptions are what a plan rests on besides the image. The functions must be
// pure.
type PlanOptions struct {
	// Abandoned are the unfinished creations that the controller has seen make no
	// progress for a while, with the revisions of their markers.
	Abandoned map[metadata.TopicID]int64
	// MinISR is min.insync.replicas of a topic; nil means 1 for every topic.
	MinISR func(image *metadata.Image, topic string) int
	// UncleanElection is unclean.leader.election.enable of a topic; nil means no.
	UncleanElection func(image *metadata.Image, topic string) bool
	// Rebalance says that it is time to give leadership back to the preferred
	// replicas of every broker that leads too few of its own: more than
	// ImbalancePercent of the partitions that prefer it are led by others.
	Rebalance        bool
	ImbalancePercent int
	// Doubt is what is thought of a registration; nil means NoDoubt of all.
	Doubt func(metadata.Member) metadata.Doubt
	// LogEnds are the answers for partitions that wait for an unclean election, see Ask.
	LogEnds map[metadata.TopicPartition]metadata.LogEnds
}

// repairs returns repair for the partitions of one topic. Nearly always there is
// nothing to repair, so that the settings are looked up only when they matter.
func (o PlanOptions) repairs(image *metadata.Image, t *metadata.Topic) func(number int32, p *metadata.Partition) metadata.Repaired {
	rules, known := metadata.ElectionRules{MinISR: 1, Doubt: o.Doubt}, false
	return func(number int32, p *metadata.Partition) metadata.Repaired {
		if metadata.WellLed(image, p) {
			return metadata.Repaired{Partition: *p}
		}
		if !known {
			known = true
			if o.MinISR != nil {
				rules.MinISR = o.MinISR(image, t.Name)
			}
			if o.UncleanElection != nil {
				rules.Unclean = o.UncleanElection(image, t.Name)
			}
		}
		rules.LogEnds = o.LogEnds[metadata.TopicPartition{Topic: t.Name, Partition: number}]
		return metadata.Repair(image, p, rules)
	}
}

// Planned is a plan, and what has to be found out before more can be planned.
type Planned struct {
	Changes []metadata.Change
	Asks    []metadata.Ask
	Doubts  []metadata.Member
}

// Plan is what the controller has to change in the cluster as of an image. It
// is a pure function, so that a new controller simply goes on; what it
// returns is in a stable order. An image that shows all of it needs nothing more.
//
//   - Each partition becomes what Repair makes of it.
//   - Leadership goes back to preferred replicas when that is due, of a bounded number of
//     partitions in a plan.
//   - Partition keys of a creation that broke off go after a grace period, unless the
//     image is incomplete. Many take several plans.
//
// All that happens to a partition is one write.
func Plan(image *metadata.Image, o PlanOptions) (all Planned) {
	topics := sortedTopics(image)
	var imbalanced map[int32]bool
	if o.Rebalance {
		imbalanced = imbalance(image, topics, o)
	}
	balanced := 0
	for _, t := range topics {
		repaired := o.repairs(image, t)
		for number := range t.Partitions {
			p := &t.Partitions[number]
			if p.Revision == 0 {
				continue // the key is missing: nothing to guard, nothing to lead
			}
			next := repaired(int32(number), p)
			all.Doubts = append(all.Doubts, next.Doubts...)
			if next.Asks != nil {
				all.Asks = append(all.Asks, metadata.Ask{
					TopicPartition: metadata.TopicPartition{Topic: t.Name, Partition: int32(number)}, Replicas: next.Asks,
				})
			}
			if balanced < maxBalance && imbalanced[next.PreferredLeader()] && next.Rebalance(image) {
				balanced++
			}
			if c, needed := next.Change(t, int32(number), p); needed {
				all.Changes = append(all.Changes, c)
			}
		}
	}
	all.Changes = append(all.Changes, image.CleanUps(o.Abandoned)...)
	return all
}

func sortedTopics(image *metadata.Image) []*metadata.Topic {
	return slices.SortedFunc(image.Topics(), func(a, b *metadata.Topic) int { return cmp.Compare(a.Name, b.Name) })
}
