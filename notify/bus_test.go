package notify

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type testBus struct {
	*Bus
	registry *prometheus.Registry
}

func openBus(t *testing.T, urls string) testBus {
	t.Helper()
	registry := prometheus.NewRegistry()
	b, err := Open(Options{
		URLs: urls, Cluster: "test", Registerer: registry,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return testBus{b, registry}
}

// dropped returns the number of dropped hints of all kinds.
func (b testBus) dropped(t *testing.T) (n float64) {
	t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "varve_notify_dropped_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// receive subscribes and returns a channel with the received hints.
func receive[H Hint](t *testing.T, b *Bus) (<-chan H, func()) {
	t.Helper()
	c := make(chan H, 10)
	stop, err := Subscribe(b, func(h H) { c <- h })
	if err != nil {
		t.Fatal(err)
	}
	return c, stop
}

func within[H any](t *testing.T, c <-chan H) H {
	t.Helper()
	select {
	case h := <-c:
		return h
	case <-time.After(time.Minute):
		t.Fatal("the hint does not arrive")
		panic("unreachable")
	}
}

func TestHintsArriveByKind(t *testing.T) {
	b := openBus(t, "")
	defer b.Close()
	segments, stop := receive[SegmentTiered](t, b.Bus)
	defer stop()
	suspects, stop2 := receive[BrokerSuspect](t, b.Bus)
	defer stop2()
	segment := SegmentTiered{TopicID: "x", Partition: 3, EndOffset: 1 << 40}
	suspect := BrokerSuspect{BrokerID: 1, BrokerEpoch: 2, ReporterID: 3, Reason: "connection refused"}
	Publish(b.Bus, segment)
	Publish(b.Bus, suspect)
	if got := within(t, segments); got != segment {
		t.Errorf("got %+v", got)
	}
	if got := within(t, suspects); got != suspect {
		t.Errorf("got %+v", got)
	}
}

func TestEmbeddedServerHasNoPort(t *testing.T) {
	files := []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"}
	before := map[string]int{}
	for _, file := range files {
		before[file] = listeners(t, file)
	}
	b := openBus(t, "")
	defer b.Close()
	for _, file := range files {
		if n := listeners(t, file) - before[file]; n != 0 {
			t.Errorf("%d more sockets of this process listen according to %s", n, file)
		}
	}
	if b.server.Addr() != nil {
		t.Errorf("the server listens at %v", b.server.Addr())
	}
}

// listeners counts the listening sockets of this process.
func listeners(t *testing.T, file string) int {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc on this system: %v", err)
	}
	for _, fd := range fds {
		if target, linkErr := os.Readlink("/proc/self/fd/" + fd.Name()); linkErr == nil {
			mine[target] = true
		}
	}
	table, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(table)) {
		const listen = "0A"
		if f := strings.Fields(line); len(f) > 9 && f[3] == listen && mine["socket:["+f[9]+"]"] {
			n++
		}
	}
	return n
}

func TestUnreadableHintsAreDropped(t *testing.T) {
	b := openBus(t, "")
	defer b.Close()
	changes, stop := receive[BrokerSuspect](t, b.Bus)
	defer stop()
	for _, payload := range []string{``, `{`, `[]`, `{"v":2,"hint":{"broker_epoch":1}}`, `{"v":1,"hint":{"broker_epoch":"x"}}`} {
		if err := b.conn.Publish(b.prefix+"broker-suspect", []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.conn.Publish(b.prefix+"broker-suspect", []byte(`{"v":1,"new":1,"hint":{"broker_epoch":9,"also":true}}`)); err != nil {
		t.Fatal(err)
	}
	if got := within(t, changes); got.BrokerEpoch != 9 {
		t.Errorf("got %+v", got)
	}
	if n := b.dropped(t); n != 5 {
		t.Errorf("dropped %v", n)
	}
}

func TestOversizedHintIsDropped(t *testing.T) {
	b := openBus(t, "")
	defer b.Close()
	Publish(b.Bus, BrokerSuspect{Reason: strings.Repeat("x", maxHint)})
	if n := b.dropped(t); n != 1 {
		t.Errorf("dropped %v", n)
	}
}

func TestStopEndsDelivery(t *testing.T) {
	b := openBus(t, "")
	defer b.Close()
	first, stop := receive[BrokerSuspect](t, b.Bus)
	Publish(b.Bus, BrokerSuspect{BrokerEpoch: 1})
	within(t, first)
	stop()
	second, stop2 := receive[BrokerSuspect](t, b.Bus)
	defer stop2()
	Publish(b.Bus, BrokerSuspect{BrokerEpoch: 2})
	within(t, second)
	if len(first) != 0 {
		t.Error("a stopped subscription got a hint")
	}
}

func TestClusterNamesAreSubjects(t *testing.T) {
	for name, ok := range map[string]bool{"varve": true, "a.b-c_d": true, "": false, "a b": false, "a*": false, ">": false, ".a": false, "a..b": false} {
		if subjectTokens(name) != ok {
			t.Errorf("%q: want %t", name, ok)
		}
	}
	if _, err := Open(Options{Cluster: "a b", Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a cluster name with a space is accepted")
	}
}

// externalNATS starts a server on loopback; port 0 takes a free one.
func externalNATS(t *testing.T, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the external NATS server does not start")
	}
	return s
}

// TestExternalServerMayComeAndGo: nothing depends on NATS. The bus opens without it, drops hints,
// and delivers them once it is reachable.
func TestExternalServerMayComeAndGo(t *testing.T) {
	probe := externalNATS(t, 0)
	port := probe.Addr().(*net.TCPAddr).Port
	probe.Shutdown()
	probe.WaitForShutdown()

	b := openBus(t, fmt.Sprintf("nats://127.0.0.1:%d", port))
	defer b.Close()
	changes, stop := receive[BrokerSuspect](t, b.Bus)
	defer stop()
	Publish(b.Bus, BrokerSuspect{BrokerEpoch: 1})
	if n := b.dropped(t); n != 1 {
		t.Fatalf("without NATS %v hints were dropped", n)
	}
	for round := range 2 {
		s := externalNATS(t, port)
		tick := time.NewTicker(10 * time.Millisecond)
		deadline := time.After(time.Minute)
		for got := false; !got; {
			select {
			case <-tick.C:
				Publish(b.Bus, BrokerSuspect{BrokerEpoch: int64(round)})
			case h := <-changes:
				got = h.BrokerEpoch == int64(round)
			case <-deadline:
				t.Fatal("the hint does not arrive")
			}
		}
		tick.Stop()
		s.Shutdown()
		s.WaitForShutdown()
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"hint":{"topic_id":"x","partition":1,"end_offset":2}}`))
	f.Add([]byte(`{"v":9}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		hint, err := decode[SegmentTiered](payload)
		if err != nil {
			return
		}
		again, err := encode(hint)
		if err != nil {
			return // too long once it is escaped
		}
		if back, backErr := decode[SegmentTiered](again); backErr != nil || back != hint {
			t.Fatalf("%+v became %+v: %v", hint, back, backErr)
		}
	})
}
