package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// TestRebalancingIsAsSet: the balance can be turned off, and can have an interval shorter than the
// controller's own.
func TestRebalancingIsAsSet(t *testing.T) {
	for name, tc := range map[string]struct {
		settings Rebalancing
		after    time.Duration
		leader   int32
	}{
		"off":                    {Rebalancing{Enable: false, Interval: time.Second}, time.Hour, 2},
		"on":                     {Rebalancing{Enable: true, Interval: time.Second}, 2500 * time.Millisecond, 1},
		"on, not due":            {Rebalancing{Enable: true, Interval: time.Hour}, 59 * time.Minute, 2},
		"on, due":                {Rebalancing{Enable: true, Interval: time.Hour}, 61 * time.Minute, 1},
		"on, within what may be": {Rebalancing{Enable: true, Interval: time.Second, ImbalancePercent: 100}, time.Hour, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, kvtest.Open(t))
				r := c.Register(t, 1, 2)
				runtest.Background(t, r[0].Run)
				runtest.Background(t, r[1].Run)
				controller := New(Options{
					Store: c.Store, Loader: c.Loader, Registration: r[0], Now: func() time.Time { return c.Now() }, Logger: runtest.Logger(t),
					Rebalance: func(*metadata.Image) Rebalancing { return tc.settings },
				})
				runtest.Background(t, controller.Run)
				c.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}}})
				settled(c)
				c.moveLeader(t)
				time.Sleep(tc.after)
				if p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"}); p.Leader != tc.leader {
					t.Errorf("%d leads, not %d", p.Leader, tc.leader)
				}
			})
		})
	}
}

// TestRebalancingIsPaced: the leadership of 2,500 partitions returns in bounded steps, so that
// clients do not lose all leaders at once.
func TestRebalancingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 2500
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2)
		runtest.Background(t, r[0].Run)
		runtest.Background(t, r[1].Run)
		assignments := map[int32][]int32{}
		for i := range int32(partitions) {
			assignments[i] = []int32{1, 2}
		}
		topic := c.Create(t, metadata.TopicSpec{Name: "a", Assignments: assignments})
		var moves []metadata.Change
		for i := range topic.Partitions {
			moves = append(moves, altered(t, c.Loader.Image(), "a", int32(i), func(p *metadata.Partition) { elect(p, p.Members()[1]) }))
		}
		if _, errs := metadata.WriteAll(t.Context(), c.Store, nil, moves); errs[0] != nil || errs[partitions-1] != nil {
			t.Fatal(errs[0], errs[partitions-1])
		}
		runtest.Background(t, c.controller(t, r[0]).Run)
		given := func() (n int) {
			topic, _ := settled(c).TopicByName("a")
			for i := range topic.Partitions {
				if topic.Partitions[i].Leader == 1 {
					n++
				}
			}
			return n
		}
		time.Sleep(DefaultRebalancing.Interval + time.Second)
		for _, want := range []int{1000, 2000, 2500} {
			if n := given(); n != want {
				t.Errorf("%d partitions are given back, want %d", n, want)
			}
			time.Sleep(balancePause)
		}
	})
}
