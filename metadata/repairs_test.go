package metadata

import (
	"cmp"
	"slices"
)

// repairOptions are the inputs of repairs besides an image; see ElectionRules.
type repairOptions struct {
	MinISR          func(image *Image, topic string) int
	UncleanElection func(image *Image, topic string) bool
	Rebalance       bool // leadership returns to the preferred replica wherever it can
	Doubt           func(Member) Doubt
	LogEnds         map[TopicPartition]LogEnds
}

// repairsNeeded is the result of repairs.
type repairsNeeded struct {
	Changes []Change
	Asks    []Ask
	Doubts  []Member
}

// repairs returns what a controller plans for single partitions of an image: each becomes what
// Repair returns.
func repairs(image *Image, o repairOptions) (all repairsNeeded) {
	for _, t := range slices.SortedFunc(image.Topics(), func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) }) {
		rules := ElectionRules{MinISR: 1, Doubt: o.Doubt}
		if o.MinISR != nil {
			rules.MinISR = o.MinISR(image, t.Name)
		}
		if o.UncleanElection != nil {
			rules.Unclean = o.UncleanElection(image, t.Name)
		}
		for n := range t.Partitions {
			p, tp := t.Partitions[n], TopicPartition{t.Name, int32(n)}
			if p.Revision == 0 {
				continue
			}
			next := Repaired{Partition: *p}
			if !WellLed(image, p) {
				rules.LogEnds = o.LogEnds[tp]
				next = Repair(image, p, rules)
			}
			if o.Rebalance {
				next.Rebalance(image, p)
			}
			all.Doubts = append(all.Doubts, next.Doubts...)
			if next.Asks != nil {
				all.Asks = append(all.Asks, Ask{tp, next.Asks})
			}
			if c, needed := next.Change(t, int32(n), p); needed {
				all.Changes = append(all.Changes, c)
			}
		}
	}
	return all
}
