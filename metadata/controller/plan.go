package controller

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// PlanOptions are the inputs of a plan besides the image. The functions must be pure.
type PlanOptions struct {
	// Abandoned are the unfinished creations that have made no progress for creationGrace, with the
	// revisions of their markers.
	Abandoned map[metadata.TopicID]int64
	// MinISR returns min.insync.replicas of a topic; nil means 1 for every topic.
	MinISR func(image *metadata.Image, topic string) int
	// UncleanElection returns unclean.leader.election.enable of a topic; nil means false.
	UncleanElection func(image *metadata.Image, topic string) bool
	// Rebalance is set when a balance of leaders is due. Leadership then returns to the preferred
	// replica for every broker that leads too few of its own partitions: others lead more than
	// ImbalancePercent of the partitions that prefer it.
	Rebalance        bool
	ImbalancePercent int
	// Doubt returns the doubt of a registration; nil means that none is in doubt.
	Doubt func(metadata.Member) metadata.Doubt
	// LogEnds are the answers for partitions that wait for an unclean election: see metadata.Ask.
	LogEnds map[metadata.TopicPartition]metadata.LogEnds
}

// repairs returns a function that repairs the partitions of one topic. It reads the settings at the
// first partition that needs a repair, because most topics have none.
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

// Planned is a plan, with the questions and probes that must be answered before more can be
// planned.
type Planned struct {
	Changes []metadata.Change
	Asks    []metadata.Ask
	Doubts  []metadata.Member
}

// Plan returns what the controller has to change in the cluster as of an image. It is a pure
// function, so a new controller continues where the old one stopped. The changes are in a stable
// order. An image that shows all of them needs no more.
//
//   - Each partition becomes what Repair returns.
//   - When a balance of leaders is due, leadership returns to preferred replicas, in a bounded
//     number of partitions in each plan.
//   - Partition keys of a broken creation are deleted after a grace period, unless the image is
//     incomplete. If there are many, that takes several plans.
//
// A partition is changed in one write.
func Plan(image *metadata.Image, o PlanOptions) Planned { return new(planner).next(image, o) }

func sortedTopics(image *metadata.Image) []*metadata.Topic {
	return slices.SortedFunc(image.Topics(), func(a, b *metadata.Topic) int { return cmp.Compare(a.Name, b.Name) })
}
