package integration

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.etcd.io/etcd/server/v3/embed"
)

// startExternal starts three brokers that use an external etcd and NATS server.
func startExternal(t *testing.T, etcd, nats string) []*process {
	t.Helper()
	return startExternalBy(t, []string{etcd, etcd, etcd}, nats)
}

// startExternalBy is startExternal with an address of etcd for each broker.
func startExternalBy(t *testing.T, etcd []string, nats string) []*process {
	t.Helper()
	dir := t.TempDir()
	brokers := make([]*process, 3)
	for i := range brokers {
		p := &process{bootstrap: freeAddress(t), dataDir: filepath.Join(dir, strconv.Itoa(i+1)), log: &syncBuffer{}}
		p.args = []string{
			"broker", "start", "--node-id", strconv.Itoa(i + 1), "--etcd", "http://" + etcd[i], "--nats", "nats://" + nats,
			"--data-dir", p.dataDir, "--listen", p.bootstrap, "--http", "127.0.0.1:0",
			"--object-store", "file://" + filepath.Join(dir, "bucket"), "--set", "group.initial.rebalance.delay.ms=0",
		}
		brokers[i] = p
	}
	startTogether(t, brokers)
	return brokers
}

// runEtcd runs an etcd until stop is called or the test ends. Clients reach it over a relay, which
// disconnects them at the end: otherwise etcd waits seven seconds for them.
func runEtcd(t *testing.T, dir, address string) (stop func()) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.Name, c.LogLevel, c.LogOutputs = dir, "external", "error", []string{filepath.Join(t.TempDir(), "etcd.log")}
	peer := url.URL{Scheme: "http", Host: freeAddress(t)}
	listen, advertised := url.URL{Scheme: "http", Host: freeAddress(t)}, url.URL{Scheme: "http", Host: address}
	c.ListenPeerUrls, c.AdvertisePeerUrls, c.InitialCluster = []url.URL{peer}, []url.URL{peer}, "external="+peer.String()
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{listen}, []url.URL{advertised}
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Server.ReadyNotify():
	case err = <-e.Err():
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready after a minute")
	}
	cut := relay(t, address, listen.Host, 0)
	stop = sync.OnceFunc(func() {
		cut()
		e.Server.Stop() // first, as if it were killed
		e.Close()
	})
	t.Cleanup(stop)
	return stop
}

// runNATS runs a NATS server until stop is called or the test ends.
func runNATS(t *testing.T, address string) (stop func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: host, Port: n, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("NATS is not ready")
	}
	stop = sync.OnceFunc(func() { s.Shutdown(); s.WaitForShutdown() })
	t.Cleanup(stop)
	return stop
}

// startTopicOn starts brokers with an external control plane, creates a topic of six partitions,
// and starts a load on it.
func startTopicOn(t *testing.T, etcd, nats, topic string) (brokers []*process, l *load, admin *kadm.Client, everywhere []kgo.Opt) {
	t.Helper()
	brokers = startExternal(t, etcd, nats)
	everywhere = clusterClient(brokers)
	admin = kadm.NewClient(newClient(t, "", append(slices.Clone(everywhere), kgo.RetryTimeout(time.Millisecond), kgo.RequestRetries(0))...))
	if _, err := admin.CreateTopic(t.Context(), 6, 3, map[string]*string{"min.insync.replicas": new("2")}, topic); err != nil {
		t.Fatal(err)
	}
	l = startLoad(t, topic, 6, 2, 1, 200, 150, everywhere...)
	l.progress(time.Minute, "at the start")
	return brokers, l, admin, everywhere
}

// TestEtcdIsAway stops etcd for longer than a session. Produce and fetch must continue, requests
// that need etcd must be rejected with a retriable error, and everything must work again when etcd
// returns.
func TestEtcdIsAway(t *testing.T) {
	sideBySide(t)
	away := 2 * leaseTTL
	if long() {
		away = time.Minute + leaseTTL
	}
	etcd, nats, dir := freeAddress(t), freeAddress(t), t.TempDir()
	runNATS(t, nats)
	stop := runEtcd(t, dir, etcd)
	_, l, admin, everywhere := startTopicOn(t, etcd, nats, "etcd-away")
	stop()
	for began := time.Now(); time.Since(began) < away; {
		l.progress(time.Minute, "without etcd")
		name := fmt.Sprintf("not-%d", time.Since(began)/time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		created, err := admin.CreateTopic(ctx, 1, 3, nil, name)
		cancel()
		if err == nil || !kerr.IsRetriable(err) {
			t.Fatalf("a topic is created without etcd: %v, want an error that may be retried", err)
		}
		if created.ErrMessage == "" {
			t.Errorf("the refusal to create a topic does not say why: %v", err)
		}
	}
	runEtcd(t, dir, etcd)
	eventually(t, time.Minute, "a topic is created again", func() bool {
		_, err := admin.CreateTopic(t.Context(), 1, 3, nil, "again")
		return err == nil
	})
	allInSync(t, admin, "etcd-away", 3)
	allInSync(t, admin, "again", 3)
	l.progress(time.Minute, "with etcd")
	l.stop()
	l.check(everywhere...)
}

// TestNATSIsAway stops the NATS server and kills a broker while it is down. Everything must work as
// it does with NATS.
func TestNATSIsAway(t *testing.T) {
	sideBySide(t)
	etcd, nats := freeAddress(t), freeAddress(t)
	runEtcd(t, t.TempDir(), etcd)
	stop := runNATS(t, nats)
	brokers, l, admin, everywhere := startTopicOn(t, etcd, nats, "nats-away")
	stop()
	l.progress(time.Minute, "without NATS")
	for i, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		brokers[i].stop(t, s)
		l.progress(time.Minute, fmt.Sprintf("without NATS after %v", s))
		brokers[i].start(t)
		allInSync(t, admin, "nats-away", 3)
	}
	runNATS(t, nats)
	brokers[2].kill9(t)
	l.progress(time.Minute, "with NATS again")
	brokers[2].start(t)
	allInSync(t, admin, "nats-away", 3)
	l.stop()
	l.check(everywhere...)
}
