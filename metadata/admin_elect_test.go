package metadata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// settle repairs the image, as a controller would, until there is nothing left to repair.
func (it *isrTest) settle(t *testing.T, o repairOptions) *Image {
	t.Helper()
	image := it.loader.Image()
	for {
		changes := repairs(image, o).Changes
		if len(changes) == 0 {
			return image
		}
		newest, errs := WriteAll(t.Context(), it.store, nil, changes)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		var err error
		if image, err = it.loader.WaitRevision(t.Context(), newest); err != nil {
			t.Fatal(err)
		}
	}
}

// kill ends a broker's registration.
func (it *isrTest) kill(t *testing.T, id int32) {
	t.Helper()
	if err := it.brokers[id].Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	it.wait(t, func(m *Image) bool { _, live := m.Brokers[id]; return !live })
}

// restart registers a broker again.
func (it *isrTest) restart(t *testing.T, id int32) {
	t.Helper()
	it.brokers[id] = it.register(t, id)[0]
}

// join makes the leader take a broker into the ISR of partition 0.
func (it *isrTest) join(t *testing.T, id int32) {
	t.Helper()
	p := it.partition(t, 0)
	change := it.change(p, 0, append(p.Members(), it.member(id))...)
	if err := it.admin.AlterISR(t.Context(), it.member(p.Leader), []ISRChange{change})[0]; err != nil {
		t.Fatal(err)
	}
	it.wait(t, func(m *Image) bool {
		now, _ := m.Partition(TopicPartition{"a", 0})
		return now.PartitionEpoch > p.PartitionEpoch
	})
}

func TestElectPreferredLeader(t *testing.T) {
	it := newISRTest(t, 1)
	tp := []TopicPartition{{"a", 0}}
	elect := func() error { return it.admin.ElectLeaders(t.Context(), PreferredElection, tp)[0] }
	if err := elect(); !errors.Is(err, ErrElectionNotNeeded) {
		t.Errorf("the preferred leader leads: %v", err)
	}
	it.kill(t, 1)
	for range 2 { // before the controller has noticed, and after
		if err := elect(); !errors.Is(err, ErrPreferredLeaderNotAvailable) {
			t.Errorf("the preferred leader is dead: %v", err)
		}
		it.settle(t, repairOptions{})
	}
	it.restart(t, 1)
	if err := elect(); !errors.Is(err, ErrPreferredLeaderNotAvailable) {
		t.Errorf("the preferred leader is out of sync: %v", err)
	}
	it.join(t, 1)
	before := it.partition(t, 0)
	if err := elect(); err != nil {
		t.Fatal(err)
	}
	if p := it.partition(t, 0); p.Leader != 1 || p.LeaderBrokerEpoch != it.member(1).Epoch || p.LeaderEpoch != before.LeaderEpoch+1 || p.PartitionEpoch != before.PartitionEpoch+1 || len(p.ISR) != 3 {
		t.Errorf("elected %+v", p)
	}
	errs := it.admin.ElectLeaders(t.Context(), PreferredElection, []TopicPartition{{"a", 1}, {"b", 0}, {"a", 0}, {"a", 0}})
	for i, want := range []error{ErrUnknownTopic, ErrUnknownTopic, ErrElectionNotNeeded, ErrInvalidRequest} {
		if !errors.Is(errs[i], want) {
			t.Errorf("%d: %v, want %v", i, errs[i], want)
		}
	}
	if err := it.admin.ElectLeaders(t.Context(), 2, tp)[0]; !errors.Is(err, ErrInvalidRequest) {
		t.Error(err)
	}
}

func TestPreferredLeaderThatStopsIsNotElected(t *testing.T) {
	image := applied(t, put(brokerKey(1), brokerValue{InControlledShutdown: true}, 11), put(brokerKey(2), brokerValue{}, 12))
	p := Partition{Replicas: []int32{1, 2}, ISR: []int32{1, 2}, ISREpochs: []int64{11, 12}, Leader: 2, LeaderBrokerEpoch: 12}
	if next, err := electPreferred(image, &p); !errors.Is(err, ErrPreferredLeaderNotAvailable) || !next.same(&p) {
		t.Errorf("%+v, %v", next, err)
	}
}

func uncleanElections(t *testing.T, f *Loader) float64 {
	t.Helper()
	var m dto.Metric
	if err := f.metrics.unclean.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestElectUncleanLeader(t *testing.T) {
	it := newISRTest(t, 1)
	it.admin.minISR = oneReplica // no member stays eligible
	tp := []TopicPartition{{"a", 0}}
	elect := func() error { return it.admin.ElectLeaders(t.Context(), UncleanElection, tp)[0] }
	if err := elect(); !errors.Is(err, ErrElectionNotNeeded) {
		t.Errorf("there is a leader: %v", err)
	}
	if err := it.alter(t, it.change(it.partition(t, 0), 0, it.member(1))); err != nil {
		t.Fatal(err)
	}
	it.kill(t, 1)
	if image := it.settle(t, repairOptions{}); len(image.Brokers) != 2 || it.partition(t, 0).Leader != 1 {
		t.Fatalf("elected %+v", it.partition(t, 0))
	}
	if err := elect(); err != nil {
		t.Fatal(err)
	}
	if n := uncleanElections(t, it.admin.loader); n != 1 {
		t.Errorf("%v unclean elections are counted", n)
	}
	if p := it.partition(t, 0); p.Leader != 2 || len(p.ISR) != 1 || p.Members()[0] != it.member(2) || p.LeaderEpoch != 1 {
		t.Errorf("elected %+v", p)
	}
	it.kill(t, 2)
	it.kill(t, 3)
	if err := elect(); !errors.Is(err, ErrEligibleLeadersNotAvailable) {
		t.Errorf("nobody lives: %v", err)
	}
}

func TestDrainedOnceNothingIsLeftToMove(t *testing.T) {
	it := newISRTest(t, 1)
	it.register(t, 4) // without partitions
	drained := func(want bool) {
		t.Helper()
		for id := range int32(4) {
			if got := it.loader.Image().ShouldShutDown(id + 1); got != (want && id == 2) {
				t.Errorf("broker %d: drained is %t", id+1, got)
			}
		}
	}
	drained(false)
	if err := it.brokers[3].BeginControlledShutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	it.wait(t, func(m *Image) bool { return m.Brokers[3].InControlledShutdown })
	drained(false)
	it.settle(t, repairOptions{})
	drained(true)
}

func TestUnregisterBroker(t *testing.T) {
	it := newISRTest(t, 1)
	it.kill(t, 3)
	if _, known := it.loader.Image().Known[3]; !known {
		t.Error("the dead broker is forgotten at once")
	}
	for id, want := range map[int32]error{1: ErrInvalidRequest, 3: nil, 4: ErrBrokerNotRegistered} {
		if err := it.admin.UnregisterBroker(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("broker %d: %v", id, err)
		}
	}
	if _, known := it.loader.Image().Known[3]; known {
		t.Error("the dead broker is still known")
	}
	if err := it.admin.UnregisterBroker(t.Context(), 3); !errors.Is(err, ErrBrokerNotRegistered) {
		t.Errorf("twice: %v", err)
	}
}

// TestUnregisterMeetsAnother: another call unregisters or writes the broker between the read and
// the write.
func TestUnregisterMeetsAnother(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile []kv.Op
		want      error
	}{
		"unregistered": {[]kv.Op{kv.Delete(knownKey(3))}, ErrBrokerNotRegistered},
		"started":      {[]kv.Op{kv.Put(brokerKey(3), encode(brokerValue{V: 1}))}, ErrInvalidRequest},
		"moved":        {[]kv.Op{kv.Put(knownKey(3), encode(knownValue{V: 1, Rack: "far"}))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			it := newISRTest(t, 1)
			it.kill(t, 3)
			store := it.admin.store
			it.admin.store = &kvtest.HookedStore{Store: store, BeforeTxn: func(n int) error {
				if n > 1 {
					return nil
				}
				_, err := store.Txn(t.Context(), nil, c.meanwhile...)
				return err
			}}
			if err := it.admin.UnregisterBroker(t.Context(), 3); !errors.Is(err, c.want) {
				t.Errorf("UnregisterBroker = %v", err)
			}
		})
	}
}

func TestReassignment(t *testing.T) {
	it := newISRTest(t, 1)
	it.brokers[4] = it.register(t, 4)[0]
	tp := TopicPartition{"a", 0}
	alter := func(r Reassignment) error {
		r.TopicPartition = tp
		return it.admin.AlterPartitionReassignments(t.Context(), []Reassignment{r})[0]
	}
	show := func() string {
		p := it.partition(t, 0)
		return fmt.Sprint(p.Replicas, p.Adding, p.Removing, p.ISR, p.Leader)
	}
	for _, c := range []struct {
		r    Reassignment
		want error
	}{
		{Reassignment{Cancel: true}, ErrNoReassignment},
		{Reassignment{}, ErrInvalidReplicaAssignment},
		{Reassignment{Replicas: []int32{1, 2, 2}}, ErrInvalidReplicaAssignment},
		{Reassignment{Replicas: []int32{1, 2, 5}}, ErrInvalidReplicaAssignment},
		{Reassignment{Replicas: []int32{1, 2, -1}}, ErrInvalidReplicaAssignment},
		{Reassignment{Replicas: []int32{1, 2}}, ErrInvalidReplicationFactor},
		{Reassignment{Replicas: []int32{1, 2, 3}}, nil},
	} {
		if err := alter(c.r); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
	if p := it.partition(t, 0); p.PartitionEpoch != 0 {
		t.Errorf("it was written: %+v", p)
	}
	step := func(name, want string) {
		t.Helper()
		it.settle(t, min2)
		if got := show(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	begin := func(ids ...int32) {
		t.Helper()
		if err := alter(Reassignment{Replicas: ids, AllowFactorChange: true}); err != nil {
			t.Fatal(err)
		}
	}
	begin(4, 2)
	step("begun", "[4 2 1 3] [4] [1 3] [1 2 3] 1")
	if all := it.admin.ListReassignments(nil); len(all) != 1 || all[0].TopicPartition != tp || fmt.Sprint(all[0].Replicas, all[0].Adding, all[0].Removing) != "[4 2 1 3] [4] [1 3]" {
		t.Errorf("listed %+v", all)
	}
	if some := it.admin.ListReassignments([]TopicPartition{{"a", 1}}); len(some) != 0 {
		t.Errorf("listed %+v", some)
	}
	if err := alter(Reassignment{Cancel: true}); err != nil {
		t.Fatal(err)
	}
	step("cancelled", "[2 1 3] [] [] [1 2 3] 1")
	begin(4, 2)
	it.join(t, 4)
	step("completed", "[4 2] [] [] [2 4] 4")
	if p := it.partition(t, 0); p.LeaderEpoch != 2 {
		t.Errorf("%+v", p)
	}
	begin(1, 2, 3)
	it.join(t, 3)
	begin(4, 1) // 3 is given up, 4 is not
	step("replaced", "[4 1 2] [1] [2] [2 4] 4")
	begin(2, 4) // only the order
	step("ordered", "[2 4] [] [] [2 4] 4")

	begin(2, 1)
	it.join(t, 1)
	it.kill(t, 2)
	step("one dies", "[2 1 4] [1] [4] [4 1] 4")
	if err := alter(Reassignment{Cancel: true}); err != nil {
		t.Fatal(err)
	}
	step("cancelled with too few others", "[2 4 1] [1] [1] [4 1] 4")
	if err := alter(Reassignment{Cancel: true}); err != nil {
		t.Fatal(err)
	}
	step("cancelled again", "[2 4 1] [1] [1] [4 1] 4")
	it.brokers[2] = it.register(t, 2)[0]
	it.join(t, 2)
	step("enough others", "[2 4] [] [] [4 2] 4")
}

// laggingStore delivers no change before a part of the store is listed.
type laggingStore struct {
	kv.Store
	listed chan struct{}
	once   sync.Once
}

func (s *laggingStore) List(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	if prefix != "" {
		s.once.Do(func() { close(s.listed) })
	}
	return s.Store.List(ctx, prefix)
}

func (s *laggingStore) Watch(ctx context.Context, prefix string, from int64) iter.Seq2[kv.Batch, error] {
	return func(yield func(kv.Batch, error) bool) {
		for batch, err := range s.Store.Watch(ctx, prefix, from) {
			select {
			case <-s.listed:
			case <-ctx.Done():
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// TestElectionIsJudgedByTheNewestState: the broker's image does not show yet that the preferred
// leader is back in sync, which the caller knows from another broker.
func TestElectionIsJudgedByTheNewestState(t *testing.T) {
	it := newISRTest(t, 1)
	tp := []TopicPartition{{"a", 0}}
	it.kill(t, 1)
	it.settle(t, repairOptions{})
	lagging := &laggingStore{Store: it.store, listed: make(chan struct{})}
	loader := NewLoader(LoaderOptions{Store: lagging, Logger: slog.New(slog.DiscardHandler)})
	runtest.Background(t, loader.Run)
	if _, err := loader.Wait(t.Context(), func(m *Image) bool { return m.Revision > 0 }); err != nil {
		t.Fatal(err)
	}
	it.restart(t, 1)
	it.join(t, 1)
	admin := NewAdmin(AdminOptions{Store: lagging, Loader: loader, Now: time.Now})
	if err := admin.ElectLeaders(t.Context(), PreferredElection, tp)[0]; err != nil {
		t.Errorf("the preferred leader is in sync: %v", err)
	}
	if p := it.partition(t, 0); p.Leader != 1 {
		t.Errorf("broker %d leads", p.Leader)
	}
}
