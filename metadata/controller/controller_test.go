package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

func (c *cluster) controller(t *testing.T, r *metadata.Registration) *Controller {
	t.Helper()
	return New(Options{
		Store: c.Store, Loader: c.Loader, Registration: r,
		Now: func() time.Time { return c.Now() }, Logger: runtest.Logger(t),
	})
}

// settled returns the image after the cluster has settled.
func settled(c *cluster) *metadata.Image {
	synctest.Wait()
	return c.Loader.Image()
}

func TestOneBrokerIsTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2, 3)
		stops := map[int32]func(){}
		controllers := map[int32]*Controller{}
		for _, registration := range r {
			runtest.Background(t, registration.Run)
			id := registration.BrokerID()
			controllers[id] = c.controller(t, registration)
			stops[id] = runtest.Background(t, controllers[id].Run)
		}
		seen := map[int32]bool{}
		for range r {
			image := settled(c)
			id := image.ControllerID
			if id == metadata.NoBroker || seen[id] {
				t.Fatalf("the controller is %d, after %v", id, seen)
			}
			for other, controller := range controllers {
				if want := other == id; (controller.Epoch() != 0) != want || want && controller.Epoch() != image.ControllerEpoch {
					t.Errorf("controller %d, and broker %d has epoch %d", id, other, controller.Epoch())
				}
			}
			seen[id] = true
			stops[id]() // resigns
		}
		if image := settled(c); image.ControllerID != metadata.NoBroker {
			t.Errorf("the controller is %d when all have resigned", image.ControllerID)
		}
	})
}

func TestControllershipEndsWithTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2)
		runtest.Background(t, c.controller(t, r[0]).Run)
		if image := settled(c); image.ControllerID != 1 {
			t.Fatalf("controller %d", image.ControllerID)
		}
		runtest.Background(t, r[1].Run)
		runtest.Background(t, c.controller(t, r[1]).Run)
		time.Sleep(metadata.DefaultLeaseTTL)
		if image := settled(c); image.ControllerID != 2 || len(image.Brokers) != 1 {
			t.Errorf("controller %d among %v", image.ControllerID, image.BrokerIDs())
		}
	})
}

// TestLostReplyOfTheElectionIsNoDeadlock: the broker has won, but does not know it
// until its image shows it.
func TestLostReplyOfTheElectionIsNoDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &kvtest.HookedStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.Register(t, 1)[0]
		runtest.Background(t, r.Run)
		s.AfterTxn = func(n int) error {
			if n == 2 {
				return kv.ErrUnavailable
			}
			return nil
		}
		controller := c.controller(t, r)
		runtest.Background(t, controller.Run)
		if image := settled(c); image.ControllerEpoch == 0 || controller.Epoch() != image.ControllerEpoch {
			t.Errorf("the store says epoch %d, the controller %d", image.ControllerEpoch, controller.Epoch())
		}
	})
}

// TestDeposedControllerChangesNothing: the writes of a controller that was paused compare its key,
// and fail.
func TestDeposedControllerChangesNothing(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := c.Register(t, 1)[0]
	topic := c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1})
	controller := c.controller(t, r)
	before := c.Loader.Image()
	// The second time the image is older than the election, which must not depose the controller.
	for range 2 {
		if err := controller.step(t.Context(), before); err != nil || controller.Epoch() <= before.Revision {
			t.Fatalf("epoch %d, %v", controller.Epoch(), err)
		}
	}
	// Another broker is elected while this controller is paused.
	if _, err := c.Store.Txn(t.Context(), nil, kv.Delete("controller")); err != nil {
		t.Fatal(err)
	}
	revision, err := c.Store.Txn(t.Context(), nil, kv.Put("controller", []byte(`{"v":1,"broker":2,"broker_epoch":0}`)))
	if err != nil {
		t.Fatal(err)
	}
	image, err := c.Loader.WaitRevision(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	key := "partitions/" + topic.ID.String() + "/0"
	change := metadata.Change{Guards: []kv.Comparison{kv.ModifiedAt(key, topic.Partitions[0].Revision)}, Ops: []kv.Op{kv.Delete(key)}}
	for _, changes := range [][]metadata.Change{{change}, {change, {Ops: []kv.Op{kv.Put("tier/x", nil)}}}} {
		if err = controller.apply(t.Context(), changes); err != nil || len(kvtest.Keys(t, c.Store, key)) != 1 || len(kvtest.Keys(t, c.Store, "tier/")) != 0 {
			t.Errorf("a deposed controller writes: %v", err)
		}
	}
	if err = controller.step(t.Context(), image); err != nil || controller.Epoch() != 0 {
		t.Errorf("it goes on with epoch %d, %v", controller.Epoch(), err)
	}
}

// TestRestartedLeaderGetsTheNextEpoch: records that the leader did not flush may be lost, so its
// followers must truncate to the new epoch.
func TestRestartedLeaderGetsTheNextEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		first := c.Registration(t, 1, "dir", "")
		if _, err := first.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(c)
		c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 500, ReplicationFactor: 1})
		second := c.Registration(t, 1, "dir", "")
		epoch, err := second.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runtest.Background(t, second.Run)
		runtest.Background(t, c.controller(t, second).Run)
		image := settled(c)
		topic, _ := image.TopicByName("a")
		for n, p := range topic.Partitions {
			if p.LeaderEpoch != 1 || p.PartitionEpoch != 1 || p.LeaderBrokerEpoch != epoch || p.Leader != 1 {
				t.Fatalf("partition %d: %+v", n, p)
			}
		}
		revision := image.Revision
		time.Sleep(time.Hour)
		if image = settled(c); image.Revision != revision {
			t.Errorf("the controller goes on writing: revision %d after %d", image.Revision, revision)
		}
	})
}

func TestLeadersMoveOffADeadBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2, 3)
		runtest.Background(t, r[0].Run)
		runtest.Background(t, r[1].Run)
		runtest.Background(t, c.controller(t, r[0]).Run)
		c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 90, ReplicationFactor: 3})
		time.Sleep(metadata.DefaultLeaseTTL) // broker 3 does not renew its lease
		image := settled(c)
		topic, _ := image.TopicByName("a")
		for n := range topic.Partitions {
			p := topic.Partitions[n]
			if _, ok := image.Leader(p); !ok {
				t.Fatalf("partition %d: %+v", n, p)
			}
			if moved := p.Replicas[0] == 3; moved != (p.LeaderEpoch == 1) || moved != (p.Leader != p.Replicas[0]) {
				t.Fatalf("partition %d: %+v", n, p)
			}
		}
	})
}

func TestStoppingBrokerIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2, 3)
		for _, registration := range r {
			runtest.Background(t, registration.Run)
		}
		runtest.Background(t, c.controller(t, r[0]).Run)
		c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 300, ReplicationFactor: 3})
		c.Create(t, metadata.TopicSpec{Name: "b", Partitions: 3, ReplicationFactor: 1})
		if image := settled(c); image.ShouldShutDown(3) || !image.ShouldShutDown(9) {
			t.Error("drained before its stop")
		}
		if err := r[2].BeginControlledShutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		image := settled(c)
		if !image.ShouldShutDown(3) {
			t.Error("not drained")
		}
		topic, _ := image.TopicByName("a")
		for n := range topic.Partitions {
			p := topic.Partitions[n]
			if leader, ok := image.Leader(p); !ok || leader.ID == 3 || len(p.ISR) != 2 || p.PartitionEpoch != 1 {
				t.Fatalf("partition %d: %+v", n, p)
			}
		}
		topic, _ = image.TopicByName("b")
		for n := range topic.Partitions { // without another replica the broker stays leader
			if _, ok := image.Leader(topic.Partitions[n]); !ok || topic.Partitions[n].PartitionEpoch != 0 {
				t.Errorf("partition %d: %+v", n, topic.Partitions[n])
			}
		}
	})
}

// TestLeadershipGoesBackInTime: leadership returns to the preferred replica after the interval, not
// earlier.
func TestLeadershipGoesBackInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2)
		runtest.Background(t, r[0].Run)
		runtest.Background(t, r[1].Run)
		runtest.Background(t, c.controller(t, r[0]).Run)
		c.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}}})
		settled(c)
		c.moveLeader(t)
		time.Sleep(DefaultRebalancing.Interval - controllerTick)
		if p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"}); p.Leader != 2 {
			t.Errorf("moved at once: %+v", p)
		}
		time.Sleep(2 * controllerTick)
		if p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"}); p.Leader != 1 || p.LeaderEpoch != 2 || p.PartitionEpoch != 2 {
			t.Errorf("not moved: %+v", p)
		}
	})
}

func TestStoppingBrokerIsControllerOnlyIfItIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2)
		runtest.Background(t, r[0].Run)
		runtest.Background(t, r[1].Run)
		if err := r[0].BeginControlledShutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled(c)
		runtest.Background(t, c.controller(t, r[0]).Run)
		if image := settled(c); image.ControllerID != metadata.NoBroker {
			t.Errorf("the controller is %d", image.ControllerID)
		}
		if err := r[1].BeginControlledShutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if image := settled(c); image.ControllerID != 1 {
			t.Errorf("the controller is %d when all stop", image.ControllerID)
		}
	})
}
