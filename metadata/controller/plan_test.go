package controller

import (
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestPlanBalances: broker 2 leads a partition that prefers broker 1. A plan that returns the
// leadership leaves nothing for the next one.
func TestPlanBalances(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	c.Register(t, 1, 2)
	c.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}, 1: {1, 2}}})
	due := PlanOptions{Rebalance: true, ImbalancePercent: 10}
	if all := Plan(c.Loader.Image(), due); len(all.Changes) != 0 {
		t.Errorf("all is well, and it plans %+v", all.Changes)
	}
	c.moveLeader(t)
	image := c.Loader.Image()
	for name, o := range map[string]PlanOptions{
		"not due":   {},
		"tolerated": {Rebalance: true, ImbalancePercent: 50},
	} {
		if all := Plan(image, o); len(all.Changes) != 0 {
			t.Errorf("%s: %+v", name, all.Changes)
		}
	}
	all := Plan(image, due)
	if len(all.Changes) != 1 || !all.Changes[0].Balance || all.Changes[0].Partition != (metadata.TopicPartition{Topic: "a"}) {
		t.Fatalf("planned %+v", all.Changes)
	}
	revision, errs := metadata.WriteAll(t.Context(), c.Store, nil, all.Changes)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	image = c.Wait(t, func(m *metadata.Image) bool { return m.Revision >= revision })
	if p, _ := image.Partition(metadata.TopicPartition{Topic: "a"}); p.Leader != 1 || p.LeaderEpoch != 2 || p.PartitionEpoch != 2 {
		t.Errorf("given back: %+v", p)
	}
	if again := Plan(image, due); len(again.Changes) != 0 {
		t.Errorf("planned again: %+v", again.Changes)
	}
}
