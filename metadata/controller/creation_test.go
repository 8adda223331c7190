package controller

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// TestCrashBetweenCreationSteps ends a creation after each of its transactions. The topic is then
// complete or missing, and the controller removes what is left.
func TestCrashBetweenCreationSteps(t *testing.T) {
	crash := errors.New("the broker crashes")
	steps := 0
	for step := 1; ; step++ {
		done := false
		synctest.Test(t, func(t *testing.T) {
			s := &kvtest.HookedStore{Store: kvtest.Open(t)}
			c := newCluster(t, s)
			r := c.Register(t, 1)[0]
			runtest.Background(t, r.Run)
			crashes := s.Txns() + step
			s.BeforeTxn = func(n int) error {
				if n >= crashes {
					return crash
				}
				return nil
			}
			err := c.Admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Partitions: 400, ReplicationFactor: 1}}, false)[0].Err
			s.BeforeTxn = nil
			left := len(kvtest.Keys(t, c.Store, "partitions/"))
			topic, exists := settled(c).TopicByName("a")
			if done = err == nil; done {
				if !exists || len(topic.Partitions) != 400 || left != 400 || len(kvtest.Keys(t, c.Store, "unfinished/")) != 0 {
					t.Errorf("after %d transactions: %d keys", step, left)
				}
				return
			}
			steps++
			if exists || !errors.Is(err, crash) {
				t.Errorf("crash before transaction %d: exists %t, %v", step, exists, err)
			}
			runtest.Background(t, c.controller(t, r).Run)
			if settled(c); len(kvtest.Keys(t, c.Store, "partitions/")) != left {
				t.Errorf("step %d: a young creation was removed", step)
			}
			time.Sleep(creationGrace + controllerTick)
			if settled(c); len(kvtest.Keys(t, c.Store, "partitions/")) != 0 || len(kvtest.Keys(t, c.Store, "unfinished/")) != 0 {
				t.Errorf("step %d: %d keys are left", step, len(kvtest.Keys(t, c.Store, "partitions/")))
			}
			c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 400, ReplicationFactor: 1})
		})
		if done {
			break
		}
	}
	if steps != 6 { // the marker, four chunks of partitions and the name
		t.Errorf("%d steps", steps)
	}
}

// TestSlowCreationLosesAgainstItsCleanup pauses a creation before each of its transactions for so
// long that the controller removes what it wrote. The creation must then fail.
func TestSlowCreationLosesAgainstItsCleanup(t *testing.T) {
	for pause := 2; pause <= 6; pause++ {
		synctest.Test(t, func(t *testing.T) {
			s := &kvtest.HookedStore{Store: kvtest.Open(t)}
			c := newCluster(t, s)
			r := c.Register(t, 1)[0]
			runtest.Background(t, r.Run)
			runtest.Background(t, c.controller(t, r).Run)
			synctest.Wait()
			slow, woke := s.Txns()+pause, int64(0)
			s.BeforeTxn = func(n int) error {
				if n == slow {
					time.Sleep(2 * creationGrace)
					woke = c.Loader.Image().Revision
				}
				return nil
			}
			err := c.Admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Partitions: 400, ReplicationFactor: 1}}, false)[0].Err
			if _, exists := settled(c).TopicByName("a"); exists || !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("paused before transaction %d: exists %t, %v", pause, exists, err)
			}
			if left := kvtest.Keys(t, c.Store, "partitions/"); len(left) != 0 {
				t.Errorf("paused before transaction %d: %d keys are left", pause, len(left))
			}
			if now := c.Loader.Image().Revision; now != woke {
				t.Errorf("paused before transaction %d: it wrote on after the cleanup, revision %d after %d", pause, now, woke)
			}
		})
	}
}

// TestPartitionsWithoutATopicStay: only a marker shows that a creation broke off. The topic's key
// may be one that this controller cannot read.
func TestPartitionsWithoutATopicStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1)[0]
		runtest.Background(t, r.Run)
		c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 3, ReplicationFactor: 1})
		if _, err := c.Store.Txn(t.Context(), nil, kv.Put("topics/a", []byte("{"))); err != nil {
			t.Fatal(err)
		}
		c = newCluster(t, c.Store) // its loader lists the store
		if image := settled(c); image.TopicCount() != 0 || !image.Incomplete() {
			t.Fatalf("topics %v, incomplete %t", image.TopicNames(), image.Incomplete())
		}
		runtest.Background(t, c.controller(t, r).Run)
		time.Sleep(10 * creationGrace)
		if left := kvtest.Keys(t, c.Store, "partitions/"); len(left) != 3 {
			t.Errorf("%d partition keys are left of 3", len(left))
		}
	})
}

// TestCreationOutlivesAClockThatIsAhead: a controller whose clock is an hour ahead of the creating
// broker's must not treat a creation in progress as broken.
func TestCreationOutlivesAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &kvtest.HookedStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.Register(t, 1)[0]
		runtest.Background(t, r.Run)
		controller := New(Options{
			Store: s, Loader: c.Loader, Registration: r, Now: func() time.Time { return time.Now().Add(time.Hour) }, Logger: runtest.Logger(t),
		})
		runtest.Background(t, controller.Run)
		synctest.Wait()
		// The controller acts on each step.
		s.BeforeTxn = func(int) error { time.Sleep(time.Second); return nil }
		c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 400, ReplicationFactor: 1})
	})
}

// TestCrashBetweenStepsOfAnAddition ends an addition after each of its transactions. The topic then
// has all new partitions or none, and the controller removes what is left.
func TestCrashBetweenStepsOfAnAddition(t *testing.T) {
	crash := errors.New("the broker crashes")
	for step, done := 1, false; !done; step++ {
		synctest.Test(t, func(t *testing.T) {
			s := &kvtest.HookedStore{Store: kvtest.Open(t)}
			c := newCluster(t, s)
			r := c.Register(t, 1)[0]
			runtest.Background(t, r.Run)
			c.Create(t, metadata.TopicSpec{Name: "a", Partitions: 2, ReplicationFactor: 1})
			crashes := s.Txns() + step
			s.BeforeTxn = func(n int) error {
				if n >= crashes {
					return crash
				}
				return nil
			}
			add := []metadata.PartitionsSpec{{Topic: "a", Count: 402}}
			err := c.Admin.CreatePartitions(t.Context(), add, false)[0].Err
			s.BeforeTxn = nil
			done = err == nil
			runtest.Background(t, c.controller(t, r).Run)
			time.Sleep(creationGrace + controllerTick)
			topic, _ := settled(c).TopicByName("a")
			want := map[bool]int{true: 402, false: 2}[done]
			if left := len(kvtest.Keys(t, c.Store, "partitions/")); left != want || len(topic.Partitions) != want || len(kvtest.Keys(t, c.Store, "unfinished/")) != 0 {
				t.Errorf("step %d: %d partitions, %d keys, want %d", step, len(topic.Partitions), left, want)
			}
			if !done {
				if err = c.Admin.CreatePartitions(t.Context(), add, false)[0].Err; err != nil {
					t.Errorf("step %d: added again: %v", step, err)
				}
			}
			if done && step != 7 { // the marker, four chunks and the topic's key
				t.Errorf("%d steps", step)
			}
		})
	}
}

// TestProgressIsNotTakenForTheEnd: the grace period begins again when a marker is rewritten.
func TestProgressIsNotTakenForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		id, seen, began := metadata.NewTopicID(), sightings{}, time.Now()
		for _, step := range []struct {
			after            time.Duration
			writes, abandons bool
		}{{0, true, false}, {40 * time.Second, true, false}, {70 * time.Second, false, false}, {100 * time.Second, false, true}} {
			if step.writes {
				if _, err := c.Store.Txn(t.Context(), nil, kv.Put("unfinished/"+id.String(), []byte(`{"v":1,"topic":"a"}`))); err != nil {
					t.Fatal(err)
				}
			}
			if _, abandoned := seen.abandoned(settled(c), began.Add(step.after))[id]; abandoned != step.abandons {
				t.Errorf("abandoned after %v: %t", step.after, abandoned)
			}
		}
	})
}
