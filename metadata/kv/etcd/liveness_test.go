package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/metadata/kv"
)

// gate forwards connections to an address. While it is shut they stay open but nothing passes, as
// if the process at the other end were stopped.
type gate struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu struct {
		sync.Mutex
		open  chan struct{} // closed while the gate is open
		conns []net.Conn
	}
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, to: to}
	g.mu.open = make(chan struct{})
	g.release()
	g.all.Go(func() {
		for {
			from, acceptErr := l.Accept()
			if acceptErr != nil {
				return
			}
			onward, dialErr := net.Dial("tcp", to)
			if dialErr != nil {
				_ = from.Close()
				continue
			}
			g.mu.Lock()
			g.mu.conns = append(g.mu.conns, from, onward)
			g.mu.Unlock()
			g.all.Go(func() { g.pass(from, onward) })
			g.all.Go(func() { g.pass(onward, from) })
		}
	})
	t.Cleanup(func() {
		g.release()
		_ = l.Close()
		g.mu.Lock()
		for _, c := range g.mu.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		g.all.Wait()
	})
	return g
}

func (g *gate) pass(from io.Reader, to io.WriteCloser) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		g.mu.Lock()
		open := g.mu.open
		g.mu.Unlock()
		<-open
		if err != nil {
			return
		}
		if _, err = to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.open = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.mu.open:
	default:
		close(g.mu.open)
	}
}

// TestFrozenMemberIsLeft freezes each of three members in turn, for a client that has no member of
// its own. A watch and writes continue sooner than gRPC's keepalive would allow, and a watcher sees
// each change once.
func TestFrozenMemberIsLeft(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	var gates []*gate
	o := Options{RequestTimeout: memberTimeout, patience: probeTimeout, keepAlive: time.Hour}
	for _, p := range m.peers {
		address, err := p.url("http", 1)
		if err != nil {
			t.Fatal(err)
		}
		g := newGate(t, strings.TrimPrefix(address, "http://"))
		gates = append(gates, g)
		o.Endpoints = append(o.Endpoints, "http://"+g.listener.Addr().String())
	}
	s := openExternal(t, o)
	var lease kv.LeaseID
	grant := func(ctx context.Context) (err error) { lease, err = s.Grant(ctx, time.Minute); return err }
	if err := answered(t, grant); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 100)
	var watching sync.WaitGroup
	watching.Go(func() {
		for batch, watchErr := range s.Watch(ctx, "n/", 1) {
			if watchErr != nil {
				if ctx.Err() == nil {
					t.Errorf("watch: %v", watchErr)
				}
				return
			}
			for _, e := range batch.Events {
				seen <- e.Key
			}
		}
	})
	defer watching.Wait()
	defer cancel()
	const limit = time.Minute // about a second; without liveness it takes an hour
	insist := func(what string, call func() error) {
		t.Helper()
		began := time.Now()
		for {
			err := call()
			if err == nil || errors.Is(err, kv.ErrConflict) {
				t.Logf("%s after %v", what, time.Since(began))
				return
			}
			if !errors.Is(err, kv.ErrUnavailable) || time.Since(began) > limit {
				t.Fatalf("%s: %v after %v", what, err, time.Since(began))
			}
		}
	}
	n := 0
	change := func(what string, by *Store) {
		t.Helper()
		key := fmt.Sprintf("n/%d", n)
		n++
		insist(what, func() error {
			_, err := by.Txn(ctx, []kv.Comparison{kv.Absent(key)}, kv.Put(key, nil))
			return err
		})
		began := time.Now()
		select {
		case got := <-seen:
			if got != key {
				t.Fatalf("the watcher saw %s, not %s", got, key)
			}
			t.Logf("%s is seen after %v", what, time.Since(began))
		case <-time.After(limit):
			t.Fatalf("%s is not seen", what)
		}
	}
	change("a change", s)
	for i, g := range gates {
		g.shut()
		change(fmt.Sprintf("a change by somebody else while member %d is frozen", i+1), m.stores[(i+1)%3])
		for range 3 { // once at each endpoint
			change(fmt.Sprintf("a change while member %d is frozen", i+1), s)
			insist("a keepalive", func() error { return s.KeepAlive(ctx, lease) })
		}
		g.release()
		insist("a read", func() error { _, err := s.Get(ctx, "n/0"); return err })
	}
}

// TestFrozenMemberComesBack freezes the only member.
func TestFrozenMemberComesBack(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	external(t, t.TempDir(), address, nil)
	g := newGate(t, address)
	s := openExternal(t, Options{Endpoints: []string{g.listener.Addr().String()}, RequestTimeout: memberTimeout, patience: probeTimeout})
	g.shut()
	if _, err := s.Txn(t.Context(), nil, kv.Put("a", nil)); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("a write at a frozen member: %v", err)
	}
	g.release()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := s.Get(t.Context(), "a")
		if err == nil {
			return
		}
		if !errors.Is(err, kv.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestMemberEndsUnderAWatch stops the member that a client elsewhere watches. The member does not
// wait for the watch to end, and the watch continues on another member.
func TestMemberEndsUnderAWatch(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	var endpoints []string
	for _, p := range m.peers[:2] {
		address, err := p.url("http", 1)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	var watched []<-chan string
	for _, e := range [][]string{endpoints[:1], endpoints} { // the first has no other member
		s := openExternal(t, Options{Endpoints: e})
		seen := make(chan string, 10)
		watched = append(watched, seen)
		watching.Go(func() {
			for batch, err := range s.Watch(ctx, "n/", 1) {
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("watch: %v", err)
					}
					return
				}
				for _, event := range batch.Events {
					seen <- event.Key
				}
			}
		})
	}
	put := func(key string) { t.Helper(); writeOnce(t, m.stores[2], key) }
	expect := func(seen <-chan string, key string) {
		t.Helper()
		select {
		case got := <-seen:
			if got != key {
				t.Fatalf("the watcher saw %s, not %s", got, key)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not seen", key)
		}
	}
	put("n/1")
	expect(watched[0], "n/1")
	expect(watched[1], "n/1")
	byItself := m.stores[0].member.Cfg.ReqTimeout() // how long etcd would wait
	began := time.Now()
	closeStore(t, m.stores[0])
	m.stores[0] = nil
	if took := time.Since(began); took >= byItself {
		t.Errorf("the member took %v to end", took)
	}
	put("n/2")
	expect(watched[1], "n/2")
}

// TestWatchGoesOnWithoutALeader: a client watches at a member that has no leader for so long that
// it ends the watch, and then gets a leader again.
func TestWatchGoesOnWithoutALeader(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	address, err := m.peers[0].url("http", 1)
	if err != nil {
		t.Fatal(err)
	}
	s := openExternal(t, Options{Endpoints: []string{address}, RequestTimeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	seen := make(chan string, 10)
	watching.Go(func() {
		for batch, watchErr := range s.Watch(ctx, "n/", 1) {
			if watchErr != nil {
				if ctx.Err() == nil {
					t.Errorf("watch: %v", watchErr)
				}
				close(seen)
				return
			}
			for _, event := range batch.Events {
				seen <- event.Key
			}
		}
	})
	writeOnce(t, m.stores[0], "n/1")
	if got := <-seen; got != "n/1" {
		t.Fatalf("the watcher saw %q", got)
	}
	for i := range 2 {
		closeStore(t, m.stores[1+i])
		m.stores[1+i] = nil
	}
	// Another watch there shows when the member ends its watches and accepts no more.
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		plain := s.client.Watch(clientv3.WithRequireLeader(ctx), s.root+"other")
		if r := <-plain; errors.Is(r.Err(), rpctypes.ErrNoLeader) {
			tick.Stop()
			break
		}
	}
	m.open(t, 1)
	if t.Failed() {
		t.FailNow()
	}
	writeOnce(t, m.stores[1], "n/2")
	select {
	case got := <-seen:
		if got != "n/2" {
			t.Errorf("the watcher saw %q", got)
		}
	case <-time.After(time.Minute):
		t.Error("the watch does not go on")
	}
}
