package metadata

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

func TestRegistrationShowsInTheImage(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := c.registration(t, 7, "dir", "rack-1")
	epoch, err := r.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 }).Brokers[7]
	if b.ID != 7 || b.Epoch != epoch || epoch != r.BrokerEpoch() || b.DirectoryID != "dir" || b.Rack != "rack-1" || b.Listeners[0].Port != 9099 || time.Since(b.StartedAt) > time.Minute {
		t.Errorf("broker %+v", b)
	}
	if err = r.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return len(m.Brokers) == 0 })
}

// TestOtherLiveBrokerIsRefused: two live brokers must not share an id.
func TestOtherLiveBrokerIsRefused(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	if _, err := c.registration(t, 1, "dir-a", "").Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := c.registration(t, 1, "dir-b", "").Register(t.Context())
	if !errors.Is(err, ErrBrokerIDInUse) {
		t.Fatalf("Register = %v", err)
	}
	for _, part := range []string{"broker 1", "127.0.0.1:9093", "dir-a", "another node id"} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q does not say %q in one line", err, part)
		}
	}
}

// TestPredecessorIsKnownByAnyDirectory: the disk of the first directory, whose id names the broker,
// was replaced after a crash. Another directory, which only one process can hold, is enough to
// replace the old registration.
func TestPredecessorIsKnownByAnyDirectory(t *testing.T) {
	store := kvtest.Open(t)
	registration := func(directory string, directories ...byte) *Registration {
		return NewRegistration(RegistrationOptions{
			Store: store, BrokerID: 1, DirectoryID: directory, Directories: dirs(directories...), Now: time.Now, Logger: runtest.Logger(t),
		})
	}
	if _, err := registration("first", 1, 2).Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := registration("new", 3, 2).Register(t.Context()); err != nil {
		t.Errorf("with one of its directories: %v", err)
	}
	if _, err := registration("first", 1, 4).Register(t.Context()); !errors.Is(err, ErrBrokerIDInUse) {
		t.Errorf("with none: %v", err)
	}
}

// TestRegistrationMeetsAnother: a broker with another directory registers under the same id between
// the read of the key and the write.
func TestRegistrationMeetsAnother(t *testing.T) {
	store := kvtest.Open(t)
	c := newCluster(t, store)
	first := c.registration(t, 1, "dir-a", "")
	late := &kvtest.HookedStore{Store: store, BeforeTxn: func(n int) error {
		if n > 1 {
			return nil
		}
		_, err := first.Register(t.Context())
		return err
	}}
	if _, err := newCluster(t, late).registration(t, 1, "dir-b", "").Register(t.Context()); !errors.Is(err, ErrBrokerIDInUse) {
		t.Errorf("Register = %v", err)
	}
	if b := c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 }).Brokers[1]; b.DirectoryID != "dir-a" || b.Epoch != first.BrokerEpoch() {
		t.Errorf("registered: %+v", b)
	}
}

func TestRestartReplacesItsPredecessorAtOnce(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	first := c.registration(t, 1, "dir", "")
	old, err := first.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := c.registration(t, 1, "dir", "")
	epoch, err := second.Register(t.Context())
	if err != nil || epoch <= old {
		t.Fatalf("Register = %d after %d, %v", epoch, old, err)
	}
	// The predecessor must not return, even if it is alive.
	if err = first.renew(t.Context()); !errors.Is(err, ErrBrokerIDInUse) {
		t.Errorf("the predecessor renews: %v", err)
	}
	c.wait(t, func(m *Image) bool { return m.Brokers[1].Epoch == epoch })
}

func TestDeadBrokersRegistrationExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kvtest.Open(t)
		c := newCluster(t, s)
		c.register(t, 1)
		start := time.Now()
		c.wait(t, func(m *Image) bool { return len(m.Brokers) == 0 })
		if d := time.Since(start); d != DefaultLeaseTTL {
			t.Errorf("expired after %v", d)
		}
		// Now any broker can take the id.
		if _, err := c.registration(t, 1, "other", "").Register(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRegistrationIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.register(t, 1)[0]
		epoch := r.BrokerEpoch()
		stop := runtest.Background(t, r.Run)
		time.Sleep(time.Hour)
		if b := c.loader.Image().Brokers[1]; b.Epoch != epoch {
			t.Errorf("after an hour: %+v, want epoch %d", b, epoch)
		}
		stop()
		time.Sleep(DefaultLeaseTTL)
		synctest.Wait()
		if len(c.loader.Image().Brokers) != 0 {
			t.Error("registered, and nobody keeps it alive")
		}
	})
}

// flakyStore does not answer KeepAlive while it is down.
type flakyStore struct {
	kv.Store
	down atomic.Bool
}

func (s *flakyStore) KeepAlive(ctx context.Context, id kv.LeaseID) error {
	if s.down.Load() {
		return fmt.Errorf("keep alive: %w", kv.ErrUnavailable)
	}
	return s.Store.KeepAlive(ctx, id)
}

// TestRegistrationOfAnUnwellBrokerLapses: an unhealthy broker lets its registration lapse, so that
// others take over. It registers again when it is healthy.
func TestRegistrationOfAnUnwellBrokerLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		var unwell atomic.Bool
		r := NewRegistration(RegistrationOptions{
			Store: c.store, BrokerID: 1, DirectoryID: "dir", Now: time.Now, Logger: runtest.Logger(t),
			Healthy: func() error {
				if unwell.Load() {
					return errors.New("a disk hangs")
				}
				return nil
			},
		})
		epoch, err := r.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runtest.Background(t, r.Run)
		at := func(d time.Duration) int64 {
			time.Sleep(d)
			synctest.Wait()
			return c.loader.Image().Brokers[1].Epoch
		}
		if got := at(time.Minute); got != epoch {
			t.Errorf("well: broker epoch %d, was %d", got, epoch)
		}
		unwell.Store(true)
		at(DefaultLeaseTTL / 2)
		unwell.Store(false)
		if got := at(time.Minute); got != epoch {
			t.Errorf("unwell for less than the lease: broker epoch %d, was %d", got, epoch)
		}
		unwell.Store(true)
		if got := at(time.Minute); got != 0 {
			t.Errorf("unwell, and still registered at epoch %d", got)
		}
		unwell.Store(false)
		if got := at(DefaultLeaseTTL); got <= epoch {
			t.Errorf("well again: broker epoch %d, was %d", got, epoch)
		}
	})
}

func TestLostLeaseIsRegisteredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &flakyStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.register(t, 1)[0]
		epoch := r.BrokerEpoch()
		runtest.Background(t, r.Run)
		s.down.Store(true)
		time.Sleep(3 * DefaultLeaseTTL)
		synctest.Wait()
		if len(c.loader.Image().Brokers) != 0 {
			t.Fatal("the lease did not expire")
		}
		s.down.Store(false)
		time.Sleep(DefaultLeaseTTL)
		synctest.Wait()
		if b, ok := c.loader.Image().Brokers[1]; !ok || b.Epoch <= epoch || b.Epoch != r.BrokerEpoch() {
			t.Errorf("registered again as %+v, before it was %d", b, epoch)
		}
	})
}

func TestRunEndsWhenTheIDIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, kvtest.Open(t))
		r := c.register(t, 1)[0]
		// A pause of the process: nothing is renewed, and another broker takes the id.
		time.Sleep(2 * DefaultLeaseTTL)
		other := c.register(t, 1)[0]
		runtest.Background(t, other.Run)
		if err := r.Run(t.Context()); !errors.Is(err, ErrBrokerIDInUse) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestRegisterSurvivesALostReply(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	c := newCluster(t, s)
	s.AfterTxn = func(n int) error {
		if n == 1 {
			return kv.ErrUnavailable
		}
		return nil
	}
	r := c.registration(t, 1, "dir", "")
	if _, err := r.Register(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("Register = %v", err)
	}
	epoch, err := r.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return m.Brokers[1].Epoch == epoch })
}

// TestReregistrationSurvivesALostReply: the key that already exists was written by this process.
func TestReregistrationSurvivesALostReply(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t)}
	c := newCluster(t, s)
	r := c.register(t, 1)[0]
	if err := s.Revoke(t.Context(), r.lease()); err != nil {
		t.Fatal(err)
	}
	lost := s.Txns() + 1
	s.AfterTxn = func(n int) error {
		if n == lost {
			return kv.ErrUnavailable
		}
		return nil
	}
	// The attempt to revoke the lease fails too.
	s.InsteadOfRevoke = func() error { return kv.ErrUnavailable }
	if err := r.renew(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("renew = %v", err)
	}
	s.InsteadOfRevoke = nil
	if err := r.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return m.Brokers[1].Epoch == r.BrokerEpoch() })
}

func TestBeginStopKeepsTheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &flakyStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.registration(t, 1, "dir", "")
		r.mu.past.PreviousBrokerEpoch = 77
		if _, err := r.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		runtest.Background(t, r.Run)
		if err := r.BeginControlledShutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b := c.loader.Image().Brokers[1]
		if !b.InControlledShutdown || b.Epoch != r.BrokerEpoch() || b.Lease != r.lease() || b.PreviousBrokerEpoch != 77 || b.DirectoryID != "dir" {
			t.Errorf("stopping: %+v", b)
		}
		// A broker that has to register again has lost no data, and still stops.
		epoch := r.BrokerEpoch()
		s.down.Store(true)
		time.Sleep(3 * DefaultLeaseTTL)
		s.down.Store(false)
		time.Sleep(DefaultLeaseTTL)
		synctest.Wait()
		if b = c.loader.Image().Brokers[1]; !b.InControlledShutdown || b.Epoch == epoch || b.PreviousBrokerEpoch != epoch {
			t.Errorf("registered again: %+v", b)
		}
	})
}

func TestBeginStopWithoutARegistration(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	r := c.registration(t, 1, "dir", "")
	if err := r.BeginControlledShutdown(t.Context()); err != nil || len(kvtest.Keys(t, c.store, brokersPrefix)) != 0 {
		t.Errorf("BeginControlledShutdown before Register: %v", err)
	}
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return m.Brokers[1].InControlledShutdown })
	if err := r.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.BeginControlledShutdown(t.Context()); !errors.Is(err, kv.ErrUnavailable) || len(kvtest.Keys(t, c.store, brokersPrefix)) != 0 {
		t.Errorf("BeginControlledShutdown of a broker whose registration is gone: %v", err)
	}
}

// TestDeregisterTriesAgain: the store is unavailable at first, as while etcd changes its leader.
func TestDeregisterTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &kvtest.HookedStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.register(t, 1)[0]
		attempts := 0
		s.InsteadOfRevoke = func() error {
			if attempts++; attempts == 3 {
				s.InsteadOfRevoke = nil
			}
			return kv.ErrUnavailable
		}
		if err := r.Deregister(t.Context()); err != nil || len(kvtest.Keys(t, c.store, brokersPrefix)) != 0 {
			t.Errorf("Deregister = %v", err)
		}
		s.InsteadOfRevoke = func() error { return kv.ErrUnavailable }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Deregister(ctx); !errors.Is(err, kv.ErrUnavailable) || ctx.Err() == nil {
			t.Errorf("at a store that stays away: %v", err)
		}
	})
}

// TestTopicGetsReplicasOnSeedsThatHaveNotStarted: the seeds are known from the first start of one
// of them, so an early topic has all its replicas.
func TestTopicGetsReplicasOnSeedsThatHaveNotStarted(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	for _, id := range []int32{1, 2} {
		r := c.registration(t, id, NewTopicID().String(), "")
		r.seeds = []int32{1, 2, 3}
		epoch, err := r.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return m.Revision >= epoch })
	}
	topic := c.create(t, TopicSpec{Name: "a", Partitions: 6, ReplicationFactor: 3})
	image := c.loader.Image()
	for n := range topic.Partitions {
		p := topic.Partitions[n]
		if _, ok := image.Leader(p); !ok || len(p.Replicas) != 3 || len(p.ISR) != 2 || slices.Contains(p.ISR, 3) {
			t.Errorf("partition %d: %+v", n, p)
		}
	}
	// A seed that starts later writes its rack and its listeners.
	r := c.registration(t, 3, "d", "far")
	r.seeds = []int32{1, 2, 3}
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	image = c.wait(t, func(m *Image) bool { return m.Brokers[3].Epoch != 0 })
	// The start of another seed does not overwrite them.
	if err := r.knowSeeds(t.Context()); err != nil {
		t.Error(err)
	}
	if known := image.Known[3]; known.Rack != "far" || len(known.Listeners) != 1 || len(image.Known) != 3 {
		t.Errorf("known: %+v", image.Known)
	}
}

// TestFailedDirectoryIsTold: a registration lists the directories that work, also after the lease
// was lost.
func TestFailedDirectoryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &flakyStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		var epochs []int64
		r := NewRegistration(RegistrationOptions{
			Store: s, BrokerID: 1, DirectoryID: "dir", Now: time.Now, Logger: runtest.Logger(t),
			Directories: dirs(1, 2, 3), Past: Past{PreviousBrokerEpoch: 7, LostDirectories: dirs(9), LostBrokerEpoch: 3},
			Registered: func(epoch int64) { epochs = append(epochs, epoch) },
		})
		if err := r.SetDirectories(t.Context(), dirs(1, 2)); err != nil || len(kvtest.Keys(t, c.store, brokersPrefix)) != 0 {
			t.Fatalf("before the registration: %v", err)
		}
		first, err := r.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		runtest.Background(t, r.Run)
		show := func() string {
			synctest.Wait()
			b := c.loader.Image().Brokers[1]
			return fmt.Sprint(len(b.Directories), b.PreviousBrokerEpoch, len(b.LostDirectories), b.LostBrokerEpoch, b.InControlledShutdown)
		}
		if got := show(); got != fmt.Sprint(2, 7, 2, math.MaxInt64, false) {
			t.Errorf("registered: %s", got)
		}
		if err = r.SetDirectories(t.Context(), dirs(1)); err != nil {
			t.Fatal(err)
		}
		if got, want := show(), fmt.Sprint(1, 7, 3, first, false); got != want || c.loader.Image().Brokers[1].Epoch != first {
			t.Errorf("a directory failed: %s, want %s", got, want)
		}
		if err = r.BeginControlledShutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := show(), fmt.Sprint(1, 7, 3, first, true); got != want {
			t.Errorf("it stops: %s, want %s", got, want)
		}
		s.down.Store(true)
		time.Sleep(3 * DefaultLeaseTTL)
		s.down.Store(false)
		time.Sleep(DefaultLeaseTTL)
		// The same process registers again: only the directories that have failed in it are lost.
		if got, want := show(), fmt.Sprint(1, first, 2, first, true); got != want {
			t.Errorf("registered again: %s, want %s", got, want)
		}
		if !slices.Equal(epochs, []int64{first, r.BrokerEpoch()}) {
			t.Errorf("told of epochs %v", epochs)
		}
	})
}

// TestUnregisteredSeedStaysAway: a seed that was unregistered for good does not become known again
// when another seed restarts.
func TestUnregisteredSeedStaysAway(t *testing.T) {
	c := newCluster(t, kvtest.Open(t))
	start := func() {
		t.Helper()
		r := c.registration(t, 1, "dir", "")
		r.seeds = []int32{1, 2, 3}
		epoch, err := r.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return m.Brokers[1].Epoch == epoch })
	}
	start()
	if err := c.admin.UnregisterBroker(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	start()
	if known := c.loader.Image().Known; len(known) != 2 {
		t.Errorf("known: %v", known)
	}
}

// TestSeedsAreKnownAllOrAgain: the first start is interrupted between two of its seeds; the next
// one completes them.
func TestSeedsAreKnownAllOrAgain(t *testing.T) {
	s := &kvtest.HookedStore{Store: kvtest.Open(t), BeforeTxn: func(n int) error {
		if n == 2 {
			return fmt.Errorf("write: %w", kv.ErrUnavailable)
		}
		return nil
	}}
	c := newCluster(t, s)
	r := c.registration(t, 1, "dir", "")
	r.seeds = []int32{1, 2, 3}
	if _, err := r.Register(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return len(m.Known) == 3 })
}

// TestFailedDirectoryIsToldAgain: the store does not answer for a while, and SetDirectories
// retries.
func TestFailedDirectoryIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &kvtest.HookedStore{Store: kvtest.Open(t)}
		c := newCluster(t, s)
		r := c.registerIn(t, 1, dirs(1, 2)...)
		attempts := 0
		s.BeforeTxn = func(int) error {
			if attempts++; attempts < 5 {
				return kv.ErrUnavailable
			}
			return nil
		}
		if err := r.SetDirectories(t.Context(), dirs(2)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := c.loader.Image().Brokers[1].Directories; attempts != 5 || !slices.Equal(got, dirs(2)) {
			t.Errorf("after %d attempts: %v", attempts, got)
		}
		s.BeforeTxn = func(int) error { return kv.ErrUnavailable }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.SetDirectories(ctx, nil); !errors.Is(err, kv.ErrUnavailable) || ctx.Err() == nil {
			t.Errorf("at a store that stays away: %v", err)
		}
	})
}
