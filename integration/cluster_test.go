package integration

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startCluster starts three brokers that run the embedded control plane.
func startCluster(t *testing.T, flags ...string) []*process {
	t.Helper()
	return startClusterOf(t, func(int) []string { return flags })
}

// startClusterOf is startCluster with flags that differ between the nodes.
func startClusterOf(t *testing.T, flagsOf func(node int) []string) []*process {
	t.Helper()
	brokers := clusterOf(t, flagsOf)
	startTogether(t, brokers)
	return brokers
}

// clusterOf returns the brokers of startClusterOf before they start.
func clusterOf(t *testing.T, flagsOf func(node int) []string) []*process {
	t.Helper()
	dir := t.TempDir()
	seeds := make([]string, 3)
	for i := range seeds {
		seeds[i] = fmt.Sprintf("%d=%s", i+1, freeControl(t))
	}
	brokers := make([]*process, len(seeds))
	for i := range brokers {
		brokers[i] = &process{bootstrap: freeAddress(t), dataDir: filepath.Join(dir, strconv.Itoa(i+1)), log: &syncBuffer{}}
		brokers[i].args = append([]string{
			"broker", "start", "--node-id", strconv.Itoa(i + 1), "--seeds", strings.Join(seeds, ","),
			"--data-dir", brokers[i].dataDir, "--listen", brokers[i].bootstrap, "--http", "127.0.0.1:0",
			"--object-store", "file://" + filepath.Join(dir, "bucket"), "--set", "group.initial.rebalance.delay.ms=0",
		}, flagsOf(i+1)...)
	}
	return brokers
}

// startTogether starts brokers at the same time, until the test ends. If the test fails, it prints
// their logs.
func startTogether(t *testing.T, brokers []*process) {
	t.Helper()
	together(brokers, func(p *process) { p.start(t) })
	t.Cleanup(func() {
		together(brokers, func(p *process) { p.stop(t, syscall.SIGKILL) })
		if t.Failed() {
			tellLogs(t, brokers)
		}
	})
}

func together(brokers []*process, do func(*process)) {
	var all sync.WaitGroup
	for _, p := range brokers {
		all.Go(func() { do(p) })
	}
	all.Wait()
}

// freeControl returns a loopback address whose port and the next two are free.
func freeControl(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		address := freeAddress(t)
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		free := true
		for _, next := range []int{n + 1, n + 2} {
			if !claim(next) {
				free = false
				break
			}
			l, listenErr := lc.Listen(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(next)))
			if listenErr != nil {
				free = false
				break
			}
			_ = l.Close()
		}
		if free {
			return address
		}
	}
	t.Fatal("no three ports in a row are free")
	return ""
}

// clusterClient are options of a client that knows all brokers, and gives up a silent one sooner
// than after the default of twenty seconds.
func clusterClient(brokers []*process) []kgo.Opt {
	all := make([]string, len(brokers))
	for i, p := range brokers {
		all[i] = p.bootstrap
	}
	return []kgo.Opt{kgo.SeedBrokers(all...), kgo.ProduceRequestTimeout(3 * time.Second), kgo.RequestTimeoutOverhead(3 * time.Second)}
}

// TestClusterLosesNothing writes numbered records with acks=all and an idempotent producer, and
// consumes them, while one broker after another is killed, stopped in order, or frozen past its
// lease. At the end every acknowledged record must exist once and in order on every partition, and
// no consumer may have read a record that does not exist.
func TestClusterLosesNothing(t *testing.T) {
	sideBySide(t)
	rounds := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP}
	if long() {
		rounds = append(rounds, rounds...)
		rounds = append(rounds, rounds...)
	}
	brokers := startCluster(t)
	numbers, admin := startReplicated(t, brokers, spread(6))
	for i, signal := range rounds {
		victim := brokers[i%len(brokers)]
		if signal == syscall.SIGSTOP {
			if err := victim.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			numbers.progress("while a broker is frozen")
			if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		} else {
			victim.stop(t, signal)
			numbers.progress(fmt.Sprintf("after %v", signal))
			victim.start(t)
		}
		allInSync(t, admin, "numbers", 3)
	}
	numbers.stop()
	numbers.check()
}

// TestTooFewInSync changes min.insync.replicas of a live topic and stops brokers. acks=all must be
// rejected while too few replicas are in sync, and accepted again afterward.
func TestTooFewInSync(t *testing.T) {
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, everywhere...))
	if _, err := admin.CreateTopic(t.Context(), 1, 3, nil, "few"); err != nil {
		t.Fatal(err)
	}
	produce := func() error {
		client := newClient(t, brokers[0].bootstrap, append(everywhere, kgo.DefaultProduceTopic("few"), kgo.RecordRetries(1), kgo.DisableIdempotentWrite(),
			kgo.RecordDeliveryTimeout(5*time.Second))...)
		defer client.Close()
		return client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("v")}).FirstErr()
	}
	if err := produce(); err != nil {
		t.Fatal(err)
	}
	three := "3"
	if _, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "min.insync.replicas", Value: &three}}, "few"); err != nil {
		t.Fatal(err)
	}
	if err := produce(); err != nil {
		t.Fatalf("all three are in sync: %v", err)
	}
	brokers[2].kill9(t)
	eventually(t, time.Minute, "two of three are refused", func() bool { return errors.Is(produce(), kerr.NotEnoughReplicas) })
	brokers[2].start(t)
	eventually(t, time.Minute, "all three are in sync again", func() bool { return produce() == nil })
}
