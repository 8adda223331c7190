package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// restarted registers a broker's next process. Its machine has crashed unless past names the epoch
// since which it has lost nothing.
func (c *cluster) restarted(t *testing.T, of *metadata.Registration, past metadata.Past) *metadata.Registration {
	t.Helper()
	self := c.Loader.Image().Brokers[of.BrokerID()]
	r := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.Store, BrokerID: of.BrokerID(), DirectoryID: self.DirectoryID, Now: time.Now, Logger: runtest.Logger(t),
		Listeners: self.Listeners, Past: past,
	})
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtest.Background(t, r.Run)
	return r
}

// TestRestartOfAllIsNotDecidedByADeadOne: brokers 1 and 2 are back before the lease of broker 3
// ends. Broker 3 stays away, and its lease must not let it win over members that certainly live.
func TestRestartOfAllIsNotDecidedByADeadOne(t *testing.T) {
	for _, tc := range []struct {
		name  string
		crash bool
		probe error
		soon  string // the leader at once
		late  string // the leader after the lease
	}{
		{"its process is gone", false, ErrBrokerGone, "1 [1]", "1 [1]"},
		{"its machine is off", false, context.DeadlineExceeded, "1 [1]", "1 [1]"},
		{"its process is gone, the others crashed", true, ErrBrokerGone, "1 [1 2 3]", "1 [1 2 3]"},
		{"its machine is off, the others crashed", true, context.DeadlineExceeded, "1 [1 2 3]", "1 [1 2 3]"},
		{"it lives after all", true, nil, "3 [3]", "1 [1 2 3]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, kvtest.Open(t))
				r := c.Register(t, 1, 2, 3)
				c.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2, 3}}})
				for i := range 2 {
					past := metadata.Past{PreviousBrokerEpoch: r[i].BrokerEpoch()}
					if tc.crash {
						past = metadata.Past{}
					}
					r[i] = c.restarted(t, r[i], past)
				}
				settled(c)
				controller := New(Options{
					Store: c.Store, Loader: c.Loader, Registration: r[0], Now: time.Now, Logger: runtest.Logger(t),
					Probe: func(ctx context.Context, b metadata.Broker) error {
						if b.ID == 3 {
							return tc.probe
						}
						return nil
					},
				})
				runtest.Background(t, controller.Run)
				show := func() string {
					p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"})
					return fmt.Sprint(p.Leader, p.ISR)
				}
				if got := show(); got != tc.soon {
					t.Errorf("at once: %s, want %s", got, tc.soon)
				}
				if tc.probe == nil {
					return
				}
				time.Sleep(2 * metadata.DefaultLeaseTTL)
				if got := show(); got != tc.late {
					t.Errorf("after the lease: %s, want %s", got, tc.late)
				}
			})
		})
	}
}

// TestUncleanElectionTakesWhoHasMost: the replica with the longest log is elected. The partition
// waits as long as no replica answers, while leaders of other partitions are elected.
func TestUncleanElectionTakesWhoHasMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.Register(t, 1, 2, 3)
		c.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2, 3}}})
		runtest.Background(t, r[1].Run)
		runtest.Background(t, r[2].Run)
		var silent atomic.Bool
		silent.Store(true)
		controller := New(Options{
			Store: c.Store, Loader: c.Loader, Registration: r[1], Now: time.Now, Logger: runtest.Logger(t),
			UncleanElection: func(*metadata.Image, string) bool { return true },
			LogEnds: func(ctx context.Context, b metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]metadata.LogEnd, error) {
				if silent.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return map[metadata.TopicPartition]metadata.LogEnd{tps[0]: {LeaderEpoch: 0, Offset: 10 * int64(b.ID)}, {Topic: "other"}: {}}, nil
			},
		})
		// Only broker 1 is in sync.
		c.alter(t, "a", 0, func(p *metadata.Partition) {
			p.ISR, p.ISREpochs, p.ISRDirectories = p.ISR[:1], p.ISREpochs[:1], nil
		})
		if err := r[0].Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtest.Background(t, controller.Run)
		time.Sleep(time.Minute)
		if p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"}); p.Leader != 1 {
			t.Fatalf("nobody answers, and %d is elected", p.Leader)
		}
		// The controller does not wait for the answers.
		c.Create(t, metadata.TopicSpec{Name: "b", Assignments: map[int32][]int32{0: {2}}})
		silent.Store(false)
		time.Sleep(10 * askPause)
		p, _ := settled(c).Partition(metadata.TopicPartition{Topic: "a"})
		if p.Leader != 3 || p.UncleanEpoch != 1 || fmt.Sprint(p.ISR) != "[3]" || c.uncleanElections(t) != 1 {
			t.Errorf("elected: %+v, %v unclean elections", p, c.uncleanElections(t))
		}
	})
}
