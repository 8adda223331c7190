package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// probed answers probes by a broker's id, and counts them.
type probed struct {
	mu      sync.Mutex
	answers map[int32]error
	block   chan struct{} // nil: answer at once
	n       map[int32]int
}

func (p *probed) probe(ctx context.Context, b metadata.Broker) error {
	p.mu.Lock()
	p.n[b.ID]++
	block, answer := p.block, p.answers[b.ID]
	p.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return answer
}

func (p *probed) count(id int32) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[id]
}

// suspectTest runs brokers 1, 2 and 3; broker 2 is the controller.
type suspectTest struct {
	*cluster
	probed      *probed
	brokers     map[int32]*metadata.Registration
	controllers map[int32]*Controller
}

func newSuspectTest(t *testing.T) *suspectTest {
	t.Helper()
	st := &suspectTest{
		cluster: newCluster(t, kvtest.Open(t)), probed: &probed{answers: map[int32]error{}, n: map[int32]int{}},
		brokers: map[int32]*metadata.Registration{}, controllers: map[int32]*Controller{},
	}
	for _, r := range st.Register(t, 1, 2, 3) {
		runtest.Background(t, r.Run)
		st.brokers[r.BrokerID()] = r
		st.controllers[r.BrokerID()] = New(Options{
			Store: st.Store, Loader: st.Loader, Registration: r, Now: st.Now, Logger: runtest.Logger(t), Probe: st.probed.probe,
		})
	}
	for _, id := range []int32{2, 1, 3} {
		runtest.Background(t, st.controllers[id].Run)
		if image := settled(st.cluster); image.ControllerID != 2 {
			t.Fatalf("the controller is %d", image.ControllerID)
		}
	}
	return st
}

// member returns a broker's present registration.
func (st *suspectTest) member(id int32) metadata.Member {
	return metadata.Member{Broker: id, Epoch: st.brokers[id].BrokerEpoch()}
}

// hint sends all brokers the hint that a broker is dead.
func (st *suspectTest) hint(t *testing.T, id int32) {
	t.Helper()
	for _, c := range st.controllers {
		c.Hint(t.Context(), st.member(id))
	}
}

// TestDeadSuspectIsFencedAtOnce: a failover does not wait for the lease if the probe finds that the
// process is gone.
func TestDeadSuspectIsFencedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSuspectTest(t)
		epoch := st.brokers[3].BrokerEpoch()
		st.probed.answers[3] = fmt.Errorf("probe: %w", ErrBrokerGone)
		start := time.Now()
		st.hint(t, 3)
		synctest.Wait()
		if b, live := st.Loader.Image().Brokers[3]; live && b.Epoch == epoch || time.Since(start) != 0 {
			t.Errorf("broker 3 lives: %+v", b)
		}
		if n := st.probed.count(3); n != 1 {
			t.Errorf("probed %d times", n)
		}
	})
}

func TestDeadControllerIsFencedByTheLowestBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSuspectTest(t)
		st.Create(t, metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {2, 3}}})
		st.probed.answers[2] = ErrBrokerGone
		st.controllers[3].Hint(t.Context(), st.member(2)) // not the broker that has to act
		synctest.Wait()
		if n := st.probed.count(2); n != 0 {
			t.Fatalf("probed %d times", n)
		}
		start := time.Now()
		st.hint(t, 2)
		p, _ := settled(st.cluster).Partition(metadata.TopicPartition{Topic: "a"})
		if image := st.Loader.Image(); image.ControllerID == metadata.NoBroker || p.Leader != 3 || p.LeaderEpoch != 1 || time.Since(start) != 0 {
			t.Errorf("controller %d, partition %+v", image.ControllerID, p)
		}
	})
}

// TestSuspectThatIsNotGoneStays: a broker that answers, or is only silent, keeps its registration.
func TestSuspectThatIsNotGoneStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSuspectTest(t)
		st.probed.answers[3] = context.DeadlineExceeded
		st.hint(t, 3)
		st.hint(t, 1)
		st.hint(t, 2)
		old := metadata.Member{Broker: 3, Epoch: st.brokers[3].BrokerEpoch() - 1}
		st.controllers[2].Hint(t.Context(), old) // of an earlier registration
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		st.controllers[2].Hint(ended, st.member(1))
		synctest.Wait()
		if image := st.Loader.Image(); len(image.Brokers) != 3 || image.Brokers[3].Epoch != st.brokers[3].BrokerEpoch() {
			t.Errorf("brokers %+v", image.Brokers)
		}
		if st.probed.count(3) != 1 || st.probed.count(1) != 1 || st.probed.count(2) != 1 {
			t.Errorf("probed %v", st.probed.n)
		}
	})
}

// TestLivingBrokerIsFencedOnce: a broker lives, but its address refuses connections. It registers
// again, and is left to its lease. A process that has taken its place is fenced at once.
func TestLivingBrokerIsFencedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSuspectTest(t)
		st.probed.answers[3] = ErrBrokerGone
		epoch := func() int64 { return st.Loader.Image().Brokers[3].Epoch }
		fenced := func() bool {
			before := epoch()
			for range 3 {
				st.hint(t, 3)
				synctest.Wait()
				// It renews its lease, and registers again if the lease has ended.
				time.Sleep(2 * metadata.DefaultLeaseTTL / 3)
				synctest.Wait()
			}
			if epoch() == 0 {
				t.Fatal("broker 3 is not registered")
			}
			return epoch() != before
		}
		if !fenced() {
			t.Fatal("it was not fenced")
		}
		if fenced() {
			t.Error("fenced again although it lives")
		}
		time.Sleep(fenceMemory)
		if !fenced() {
			t.Error("not fenced after a while")
		}

		restarted := st.Registration(t, 3, st.Loader.Image().Brokers[3].DirectoryID, "")
		if _, err := restarted.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		st.brokers[3] = restarted
		synctest.Wait()
		st.hint(t, 3)
		synctest.Wait()
		if epoch() == restarted.BrokerEpoch() {
			t.Error("a process that has started since is not fenced")
		}
	})
}

func TestHintsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSuspectTest(t)
		st.probed.block = make(chan struct{})
		for range 1000 {
			st.hint(t, 3)
		}
		synctest.Wait()
		if n := st.probed.count(3); n != 1 {
			t.Errorf("%d probes at a time", n)
		}
		close(st.probed.block)
		synctest.Wait()
		st.hint(t, 3)
		synctest.Wait()
		if n := st.probed.count(3); n != 1 {
			t.Errorf("%d probes in a row", n)
		}
		time.Sleep(probePause)
		st.hint(t, 3)
		synctest.Wait()
		if n := st.probed.count(3); n != 2 {
			t.Errorf("%d probes after the pause", n)
		}
	})
}

func TestProbeTCP(t *testing.T) {
	at := func(l net.Listener) metadata.Listener {
		return metadata.Listener{Host: "127.0.0.1", Port: int32(l.Addr().(*net.TCPAddr).Port)}
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	open, closed, dying, full := listen(), listen(), listen(), listen()
	_ = closed.Close()
	var accepting sync.WaitGroup
	defer accepting.Wait()
	accepting.Go(func() { // as when a process ends: the listener is closed first
		conn, err := dying.Accept()
		_ = dying.Close()
		if err == nil {
			_ = conn.Close()
		}
	})
	accepting.Go(func() {
		for {
			conn, err := full.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	defer full.Close()
	for name, c := range map[string]struct {
		listeners []metadata.Listener
		gone, ok  bool
	}{
		"it accepts":              {[]metadata.Listener{at(open)}, false, true},
		"one of two accepts":      {[]metadata.Listener{at(closed), at(open)}, false, true},
		"it refuses":              {[]metadata.Listener{at(closed), at(closed)}, true, false},
		"it is being killed":      {[]metadata.Listener{at(dying)}, true, false},
		"it takes no more":        {[]metadata.Listener{at(full)}, false, true},
		"one cannot be looked up": {[]metadata.Listener{at(closed), {Host: "nowhere.invalid", Port: 1}}, false, false},
		"none":                    {nil, false, false},
	} {
		err := ProbeTCP(t.Context(), metadata.Broker{ID: 7, Listeners: c.listeners})
		if c.gone != errors.Is(err, ErrBrokerGone) || c.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyTheBrokersListenerIsProbed: a broker is dead, and a load balancer in front of its other
// listener accepts connections.
func TestOnlyTheBrokersListenerIsProbed(t *testing.T) {
	external, internal := metadata.Listener{Name: "EXTERNAL"}, metadata.Listener{Name: "INTERNAL"}
	var at []metadata.Listener
	s := newSuspects(func(_ context.Context, b metadata.Broker) error { at = b.Listeners; return ErrBrokerGone }, "INTERNAL")
	for _, c := range []struct{ has, want []metadata.Listener }{
		{[]metadata.Listener{external, internal}, []metadata.Listener{internal}},
		{[]metadata.Listener{external}, []metadata.Listener{external}},
	} {
		if err := s.ask(t.Context(), metadata.Broker{ID: 2, Listeners: c.has}); !errors.Is(err, ErrBrokerGone) || !slices.Equal(at, c.want) {
			t.Errorf("of %v it probed %v: %v", c.has, at, err)
		}
	}
}

// TestBrokenConnectionIsAHint: only an error that the end of a process can cause is a hint.
// BeforeFence is called before the registration is ended.
func TestBrokenConnectionIsAHint(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		hint bool
	}{
		"refused":          {fmt.Errorf("dial: %w", syscall.ECONNREFUSED), true},
		"reset":            {fmt.Errorf("read: %w", syscall.ECONNRESET), true},
		"closed":           {io.EOF, true},
		"closed in a word": {io.ErrUnexpectedEOF, true},
		"silent":           {context.DeadlineExceeded, false},
		"no way":           {syscall.EHOSTUNREACH, false},
		"nothing":          {nil, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, kvtest.Open(t))
			r := cl.Register(t, 1, 2)
			runtest.Background(t, r[0].Run)
			suspect := metadata.Member{Broker: 2, Epoch: r[1].BrokerEpoch(), Directory: metadata.DirectoryID{1}}
			var published []error
			var before []int32
			controller := New(Options{
				Store: cl.Store, Loader: cl.Loader, Registration: r[0], Now: time.Now, Logger: runtest.Logger(t),
				Probe: func(context.Context, metadata.Broker) error { return ErrBrokerGone },
				Publish: func(m metadata.Member, err error) {
					if m != suspect {
						t.Errorf("%s: published %+v", name, m)
					}
					published = append(published, err)
				},
				BeforeFence: func(_ context.Context, id int32) {
					if _, live := cl.Loader.Image().Brokers[id]; !live {
						t.Errorf("%s: broker %d is fenced before that", name, id)
					}
					before = append(before, id)
				},
			})
			runtest.Background(t, controller.Run)
			settled(cl)
			controller.Suspect(t.Context(), suspect, c.err)
			_, live := settled(cl).Brokers[2]
			if live == c.hint || (len(published) == 1) != c.hint || (len(before) == 1) != c.hint {
				t.Errorf("%s: live %t, published %v, called for %v", name, live, published, before)
			}
		})
	}
}
