package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/integration/crashfs"
)

// fault is an action on a broker. Its effects have ended when do returns.
type fault struct {
	name    string
	damages damage
	cuts    bool // needs a network
	do      func(n *nemesis, broker int)
}

var faults = slices.Concat(faultsOfProcesses, faultsOfNetworks, faultsOfDisks, faultsOfPower)

var faultsOfProcesses = []fault{
	{"kill -9, and start", nothing, false, func(n *nemesis, broker int) {
		n.brokers[broker-1].kill9(n.t)
		n.hold(0, 3*time.Second)
		n.brokers[broker-1].start(n.t)
	}},
	{"SIGTERM, and start", nothing, false, func(n *nemesis, broker int) {
		n.brokers[broker-1].stop(n.t, syscall.SIGTERM)
		n.hold(0, time.Second)
		n.brokers[broker-1].start(n.t)
	}},
	{"freeze past the lease", nothing, false, func(n *nemesis, broker int) {
		n.signal(broker, syscall.SIGSTOP)
		n.hold(leaseTTL+time.Second, leaseTTL+4*time.Second)
		n.signal(broker, syscall.SIGCONT)
	}},
	{"freeze for less than the lease", nothing, false, func(n *nemesis, broker int) {
		n.signal(broker, syscall.SIGSTOP)
		n.hold(100*time.Millisecond, leaseTTL/2)
		n.signal(broker, syscall.SIGCONT)
	}},
	{"kill -9 of all, and this one stays away for a time", nothing, false, func(n *nemesis, broker int) {
		together(n.brokers, func(p *process) { p.kill9(n.t) })
		back := slices.Delete(slices.Clone(n.brokers), broker-1, broker)
		together(back, func(p *process) { p.start(n.t) })
		n.hold(0, leaseTTL+4*time.Second)
		n.brokers[broker-1].start(n.t)
	}},
}

var faultsOfNetworks = []fault{
	{"cut off from the other brokers", nothing, true, func(n *nemesis, broker int) {
		n.network.cut(func(l link) bool { return l.joins(broker) })
		n.hold(time.Second, leaseTTL+6*time.Second)
		n.network.heal()
	}},
	{"cut off from one other broker", nothing, true, func(n *nemesis, broker int) {
		other := broker%len(n.brokers) + 1
		n.network.cut(func(l link) bool { return l.joins(broker) && l.joins(other) })
		n.hold(time.Second, leaseTTL+6*time.Second)
		n.network.heal()
	}},
	{"cut off from all", nothing, true, func(n *nemesis, broker int) {
		n.network.cut(func(l link) bool { return l.joins(broker) || l.from == client && l.to == broker })
		n.hold(time.Second, leaseTTL+6*time.Second)
		n.network.heal()
	}},
	{"cut off from clients", nothing, true, func(n *nemesis, broker int) {
		n.network.cut(func(l link) bool { return l.from == client && l.to == broker })
		n.hold(time.Second, leaseTTL)
		n.network.heal()
	}},
	{"cut off from the other brokers, and kill -9 of one of these", nothing, true, func(n *nemesis, broker int) {
		other := broker%len(n.brokers) + 1
		n.network.cut(func(l link) bool { return l.joins(broker) })
		n.hold(0, leaseTTL+2*time.Second)
		n.brokers[other-1].kill9(n.t)
		n.network.heal()
		n.brokers[other-1].start(n.t)
	}},
}

var faultsOfDisks = []fault{
	{"a log directory fails, and is back after a restart", oneReplica, false, func(n *nemesis, broker int) {
		p := n.brokers[broker-1]
		failed := n.random.IntN(len(p.logDirs))
		if err := crashfs.Break(p.journal, p.logDirs[failed]); err != nil {
			n.t.Fatal(err)
		}
		n.hold(time.Second, leaseTTL)
		p.kill9(n.t)
		if err := crashfs.Mend(p.journal); err != nil {
			n.t.Fatal(err)
		}
		p.start(n.t)
	}},
	{"kill -9, and a log directory is empty", oneReplica, false, func(n *nemesis, broker int) {
		p := n.brokers[broker-1]
		p.kill9(n.t)
		lost := emptied(n.t, p.logDirs[n.random.IntN(len(p.logDirs))])
		n.awaitExpired(broker)
		p.startWith(n.t, "--set", "varve.lost.log.dirs="+lost)
	}},
	{"kill -9, and all that it had is gone", oneReplica, false, func(n *nemesis, broker int) {
		p := n.brokers[broker-1]
		p.kill9(n.t)
		for _, dir := range []string{p.dataDir, p.journal} {
			if err := os.RemoveAll(dir); err != nil {
				n.t.Fatal(err)
			}
		}
		n.awaitExpired(broker)
		p.start(n.t)
	}},
}

// awaitExpired waits until a dead broker's registration has expired: before that, a broker with
// another data directory is rejected. A new leader of etcd restarts every lease.
func (n *nemesis) awaitExpired(broker int) {
	n.t.Helper()
	eventually(n.t, time.Minute, "the registration of the dead broker has expired", func() bool {
		live, err := n.admin.ListBrokers(n.t.Context())
		return err == nil && !slices.Contains(live.NodeIDs(), int32(broker))
	})
}

var faultsOfPower = []fault{
	{"it loses power", oneReplica, false, func(n *nemesis, broker int) {
		n.brokers[broker-1].losePower(n.t)
		n.hold(0, 3*time.Second)
		n.brokers[broker-1].start(n.t)
	}},
	{"it loses power while another one is frozen, and is back first", oneReplica, false, func(n *nemesis, broker int) {
		other := broker%len(n.brokers) + 1
		n.signal(other, syscall.SIGSTOP)
		n.hold(0, leaseTTL+2*time.Second)
		n.brokers[broker-1].losePower(n.t)
		n.hold(0, 3*time.Second)
		n.signal(other, syscall.SIGCONT)
		n.brokers[broker-1].start(n.t)
	}},
	{"all lose power", unflushed, false, func(n *nemesis, _ int) {
		together(n.brokers, func(p *process) { p.losePower(n.t) })
		n.hold(0, 3*time.Second)
		together(n.brokers, func(p *process) { p.start(n.t) })
	}},
}

// emptied deletes everything in a log directory and returns the directory id that it had.
func emptied(t *testing.T, dir string) (id string) {
	t.Helper()
	properties, err := os.ReadFile(filepath.Join(dir, "meta.properties"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(properties)) {
		if value, ok := strings.CutPrefix(line, "directory.id="); ok {
			id = strings.TrimSpace(value)
		}
	}
	if id == "" {
		t.Fatalf("%s has no id: %s", dir, properties)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err = os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return id
}
