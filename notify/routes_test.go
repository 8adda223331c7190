package notify

import (
	"crypto/tls"
	"log/slog"
	"testing"
	"time"

	"github.com/varvelog/varve/porttest"
	"github.com/varvelog/varve/security/securitytest"
)

// freeAddress returns a loopback address that is unused, also by other tests.
func freeAddress(t *testing.T) string {
	t.Helper()
	return porttest.Address(t, 1)
}

// listen returns a channel with the hints that a bus receives, as long as there is room.
func listen(t *testing.T, b *Bus) <-chan BrokerSuspect {
	t.Helper()
	c := make(chan BrokerSuspect, 1)
	if _, err := Subscribe(b, func(h BrokerSuspect) {
		select {
		case c <- h:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHintsReachAllBrokers connects three servers that listen and one that does not, and stops one
// of them.
func TestHintsReachAllBrokers(t *testing.T) { hintsReachAll(t, nil) }

// TestHintsReachAllBrokersOverTLS is the same for servers with TLS between them.
func TestHintsReachAllBrokersOverTLS(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	hintsReachAll(t, func() *tls.Config { return loaded(t, ca, ca.Issue(t)).Both() })
}

// TestStrangersDoNotJoin: a server with a certificate of another authority, and one without TLS,
// cannot join those with TLS.
func TestStrangersDoNotJoin(t *testing.T) {
	ca, other := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	address := freeAddress(t)
	open := func(name string, config *tls.Config, listen string) *Bus {
		b, err := Open(Options{
			Cluster: "test", Logger: slog.New(slog.DiscardHandler), Routes: &Routes{Name: name, Listen: listen, Peers: []string{address}, TLS: config},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	seed := open("1", loaded(t, ca, ca.Issue(t)).Both(), address)
	open("2", loaded(t, ca, other.Issue(t)).Both(), "")
	open("3", nil, "")
	heard := listen(t, seed)
	good := open("4", loaded(t, ca, ca.Issue(t)).Both(), "")
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for got := false; !got; {
		select {
		case <-tick.C:
			Publish(good, BrokerSuspect{BrokerEpoch: 1})
		case <-heard:
			got = true
		case <-deadline:
			t.Fatal("the good one does not join")
		}
	}
	routes, err := seed.server.Routez(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes.Routes {
		if r.RemoteName != "4" {
			t.Errorf("%q has joined", r.RemoteName)
		}
	}
}

func hintsReachAll(t *testing.T, secure func() *tls.Config) {
	t.Helper()
	seeds := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	open := func(name, listen string) *Bus {
		routes := &Routes{Name: name, Listen: listen, Peers: seeds}
		if secure != nil {
			routes.TLS = secure()
		}
		b, err := Open(Options{Cluster: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Routes: routes})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	buses := []*Bus{open("1", seeds[0]), open("2", seeds[1]), open("3", seeds[2]), open("4", "")}
	heard := make([]<-chan BrokerSuspect, len(buses))
	for i, b := range buses {
		heard[i] = listen(t, b)
	}
	tell := func(from int, revision int64, to ...int) {
		t.Helper()
		for _, i := range to { // repeatedly, until the servers have found each other
			deadline := time.After(time.Minute)
			for got := false; !got; {
				Publish(buses[from], BrokerSuspect{BrokerEpoch: revision})
				select {
				case h := <-heard[i]:
					got = h.BrokerEpoch == revision
				case <-time.After(20 * time.Millisecond):
				case <-deadline:
					t.Fatalf("bus %d does not hear bus %d", i, from)
				}
			}
		}
	}
	tell(0, 1, 0, 1, 2, 3)
	tell(3, 2, 0, 1, 2, 3)
	buses[0].Close()
	tell(1, 3, 1, 2, 3)
	buses[0] = open("1", seeds[0])
	heard[0] = listen(t, buses[0])
	tell(0, 4, 0, 1, 2, 3)
	tell(3, 5, 0)
	for _, b := range buses {
		b.Close()
	}
}

// TestABusAloneWorks has routes to servers that do not exist.
func TestABusAloneWorks(t *testing.T) {
	own := freeAddress(t)
	b, err := Open(Options{
		Cluster: "test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Routes: &Routes{Name: "1", Listen: own, Peers: []string{own, freeAddress(t), freeAddress(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	changes, stop := receive[BrokerSuspect](t, b)
	defer stop()
	Publish(b, BrokerSuspect{BrokerEpoch: 1})
	if got := within(t, changes); got.BrokerEpoch != 1 {
		t.Errorf("got %+v", got)
	}
}
