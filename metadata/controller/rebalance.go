package controller

import (
	"time"

	"github.com/varvelog/varve/metadata"
)

// Rebalancing are the settings by which leadership returns to preferred replicas.
type Rebalancing struct {
	Enable           bool          // auto.leader.rebalance.enable
	Interval         time.Duration // leader.imbalance.check.interval.seconds
	ImbalancePercent int           // leader.imbalance.per.broker.percentage
}

// DefaultRebalancing has Kafka's defaults.
var DefaultRebalancing = Rebalancing{Enable: true, Interval: 5 * time.Minute, ImbalancePercent: 10}

// maxBalance is the number of partitions whose leadership one plan returns: Kafka's
// MAX_ELECTIONS_PER_IMBALANCE. The others follow after balancePause, so that clients do not see all
// their leaders change at once.
const (
	maxBalance   = 1000
	balancePause = controllerTick
)

// moreToBalance reports whether a plan was full of elections of preferred leaders: more may be
// needed.
func moreToBalance(changes []metadata.Change) bool {
	n := 0
	for _, c := range changes {
		if c.Balance {
			n++
		}
	}
	return n >= maxBalance
}

// imbalance returns the brokers that lead too few of the partitions that prefer them, after all
// repairs of this plan.
func imbalance(image *metadata.Image, topics []*metadata.Topic, o PlanOptions) map[int32]bool {
	type count struct{ prefer, lack int }
	counts := map[int32]count{}
	for _, t := range topics {
		repaired := o.repairs(image, t)
		for i := range t.Partitions {
			p := repaired(int32(i), t.Partitions[i])
			first := p.PreferredLeader()
			n := counts[first]
			n.prefer++
			if p.Leader != first {
				n.lack++
			}
			counts[first] = n
		}
	}
	brokers := map[int32]bool{}
	for id, n := range counts { // in any order
		if _, live := image.Brokers[id]; live && n.lack*100 > o.ImbalancePercent*n.prefer {
			brokers[id] = true
		}
	}
	return brokers
}
