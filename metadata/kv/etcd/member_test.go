package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/porttest"
	"github.com/varvelog/varve/runtest"
)

// members are the stores of an embedded cluster of three.
type members struct {
	dir    string
	peers  []Peer
	stores [3]*Store
	tls    [3]*MemberTLS
	quota  int64         // of the databases, as in EmbeddedOptions
	tick   time.Duration // as in EmbeddedOptions
}

func openMembers(t *testing.T) *members {
	t.Helper()
	return openMembersWith(t, [3]*MemberTLS{})
}

func openMembersWith(t *testing.T, tls [3]*MemberTLS) *members {
	t.Helper()
	m := freshMembers(t)
	m.tls = tls
	m.openAll(t)
	return m
}

// freshMembers returns three members that have not begun. The end of the test closes those that are
// open.
func freshMembers(t *testing.T) *members {
	t.Helper()
	m := &members{dir: t.TempDir()}
	for i := range m.stores {
		m.peers = append(m.peers, Peer{NodeID: int32(i + 1), Control: freeControl(t)})
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, s := range m.stores {
			if s != nil {
				all.Go(func() {
					s.member.HardStop() // at the end no other member is left to lead
					closeStore(t, s)
				})
			}
		}
		all.Wait()
	})
	return m
}

// openAll opens all three at the same time.
func (m *members) openAll(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for i := range m.stores {
		all.Go(func() { m.open(t, i) })
	}
	all.Wait()
}

func (m *members) open(t *testing.T, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := m.try(ctx, t, i, nil)
	if err != nil {
		t.Error(err)
		return
	}
	m.stores[i] = s
}

// freeControl returns an address whose port and the next one have no listener and are given to no
// other test.
func freeControl(t *testing.T) string {
	t.Helper()
	return porttest.Address(t, 2)
}

func TestMembersConform(t *testing.T) {
	t.Parallel()
	m := freshMembers(t)
	// The suite has no patience for an election, and a loaded machine is late.
	m.tick = 200 * time.Millisecond
	m.openAll(t)
	if t.Failed() {
		t.FailNow()
	}
	n := 0
	kvtest.Run(t, func(t *testing.T) kvtest.Instance {
		t.Helper()
		n++
		// Each subtest uses the keys of another cluster in the same etcd, through a client of its
		// own.
		s := newStore(v3client.New(m.stores[n%len(m.stores)].member), fmt.Sprintf("test-%d", n), time.Minute)
		t.Cleanup(func() { closeStore(t, s) })
		return kvtest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			if _, err := s.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

// TestMembersSurviveTheirLeader stops the leading member under a writer and a watcher at another
// one. Replace makes a new leader at once, and nothing is lost or seen twice. The stopped member
// returns and gets what it has missed.
func TestMembersSurviveTheirLeader(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	leader := 0
	for i := range m.stores {
		if m.stores[0].leads(memberNameOf(int32(i + 1))) {
			leader = i
		}
	}
	at := m.stores[(leader+1)%3]
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen := make(chan string, 1000)
	var watching sync.WaitGroup
	watching.Go(func() {
		for batch, err := range at.Watch(ctx, "n/", 1) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("watch: %v", err)
				}
				return
			}
			for _, e := range batch.Events {
				seen <- e.Key
			}
		}
	})
	put := func(n int) {
		t.Helper()
		writeOnce(t, at, fmt.Sprintf("n/%03d", n))
	}
	for n := range 20 {
		put(n)
	}
	closeStore(t, m.stores[leader])
	m.stores[leader] = nil
	replacing, cancel := context.WithTimeout(ctx, time.Minute)
	at.Replace(replacing, int32(leader+1))
	cancel()
	if at.leads(memberNameOf(int32(leader + 1))) {
		t.Error("there is no new leader")
	}
	for n := 20; n < 40; n++ {
		put(n)
	}
	m.open(t, leader)
	if t.Failed() {
		t.FailNow()
	}
	var kvs []kv.Pair
	err := answered(t, func(ctx context.Context) (err error) { kvs, _, err = m.stores[leader].List(ctx, "n/"); return err })
	if err != nil || len(kvs) != 40 {
		t.Errorf("the member that was away has %d of 40 keys, %v", len(kvs), err)
	}
	for n := range 40 {
		select {
		case key := <-seen:
			if want := fmt.Sprintf("n/%03d", n); key != want {
				t.Fatalf("the watcher saw %s, not %s", key, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("the watcher did not see change %d", n)
		}
	}
	stop()
	watching.Wait()
}

// TestMemberSaysWhomItWaitsFor: a start that has no majority must name the silent members.
func TestMemberSaysWhomItWaitsFor(t *testing.T) {
	t.Parallel()
	peers := []Peer{{NodeID: 1, Control: freeControl(t)}, {NodeID: 2, Control: freeControl(t)}, {NodeID: 3, Control: freeControl(t)}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := OpenEmbedded(ctx, EmbeddedOptions{
		Dir: t.TempDir(), Cluster: "test", Logger: runtest.Logger(t), Member: &Member{NodeID: 1, Peers: peers},
	})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "broker 2 at "+peers[1].Control) {
		t.Errorf("%v", err)
	}
}
