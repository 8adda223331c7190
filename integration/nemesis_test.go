package integration

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// leaseTTL is the session of a broker (metadata.DefaultLeaseTTL). A broker that is silent for
// longer loses the partitions that it leads.
const leaseTTL = 6 * time.Second

// damage is what a fault may destroy for good. It decides when the fault is allowed: see nemesis.
type damage int

const (
	nothing    damage = iota // only processes and connections are affected
	oneReplica               // one broker loses its unflushed data, a directory, or everything
	unflushed                // all brokers lose their unflushed data
)

// nemesis causes faults in the brokers, drawn by a seeded generator.
//
// A cluster can keep an acknowledged record only as long as one copy of it remains. All topics
// under the nemesis have three replicas, or temporarily two, and min.insync.replicas=2, so an
// acknowledged record is on at least two brokers. Hence the rules:
//
//   - A fault that damages one broker is allowed only if all other brokers have lost nothing since
//     all replicas were last in sync. Before another broker is damaged, the nemesis waits until
//     they are in sync again.
//   - Unflushed data of all brokers is destroyed only while every topic under the nemesis is
//     flushed at each message.
//   - Faults that damage nothing are always allowed.
type nemesis struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	brokers []*process
	network *network // nil: brokers cannot be disconnected
	admin   *kadm.Client
	kinds   []fault
	unrest  *unrest  // nil: replicas do not move
	topics  []string // must be in sync before more is damaged
	most    damage   // the damage that the topics survive
	// damaged is the broker that may have lost data since all replicas were in sync; 0: none.
	damaged int
	victim  func() int // draws a broker
}

// newNemesis seeds the nemesis from VARVE_NEMESIS_SEED, or at random, and logs the seed.
func newNemesis(t *testing.T, brokers []*process, network *network, admin *kadm.Client) *nemesis {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("VARVE_NEMESIS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("VARVE_NEMESIS_SEED: %v", err)
		}
	}
	t.Logf("the same faults again: VARVE_NEMESIS_SEED=%d", seed)
	n := &nemesis{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), brokers: brokers, network: network, admin: admin, kinds: faults}
	n.victim = func() int { return 1 + n.random.IntN(len(brokers)) }
	return n
}

// nemesisTime is the duration of the faults: VARVE_NEMESIS_TIME (such as 2h30m), or longer in make
// test-long, or short.
func nemesisTime(t *testing.T, short, longer time.Duration) time.Duration {
	t.Helper()
	if text := os.Getenv("VARVE_NEMESIS_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("VARVE_NEMESIS_TIME: %v", err)
		}
		return d
	}
	if long() {
		return longer
	}
	return short
}

// hold lets a fault last for a random time between least and most.
func (n *nemesis) hold(least, most time.Duration) {
	waitFor(n.t, least+time.Duration(n.random.Int64N(int64(most-least))))
}

// signal sends a signal to a broker's process.
func (n *nemesis) signal(broker int, s syscall.Signal) { signal(n.t, n.brokers[broker-1], s) }

func signal(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// run draws faults until the time is over. Each round has every allowed fault once, in a random
// order, each on a random broker.
func (n *nemesis) run(during time.Duration) {
	n.t.Helper()
	over := time.Now().Add(during)
	for {
		for _, i := range n.random.Perm(len(n.kinds)) {
			f := n.kinds[i]
			if f.damages > n.most || f.cuts && n.network == nil {
				continue
			}
			broker := n.victim()
			n.permit(f.damages, broker)
			n.t.Logf("%s: broker %d: %s", time.Now().Format(time.TimeOnly), broker, f.name)
			f.do(n, broker)
			if n.random.IntN(2) == 0 { // often before everything has recovered
				n.hold(0, 3*time.Second)
			}
			if n.t.Failed() || time.Now().After(over) {
				return
			}
		}
	}
}

// permit waits until the rules allow the damage to a broker, and records it.
func (n *nemesis) permit(d damage, broker int) {
	n.t.Helper()
	if d != oneReplica {
		return
	}
	if n.damaged != 0 && n.damaged != broker {
		n.whole()
	}
	n.damaged = broker
}

// whole waits until all replicas are in sync.
func (n *nemesis) whole() {
	n.t.Helper()
	if n.unrest != nil {
		n.unrest.moving.Lock()
		defer n.unrest.moving.Unlock()
	}
	for _, topic := range n.topics {
		allInSync(n.t, n.admin, topic, 0)
	}
	n.damaged = 0
}

// startNemesisCluster starts three brokers with two log directories each, which can be disconnected
// and can lose power.
func startNemesisCluster(t *testing.T) ([]*process, *network) {
	t.Helper()
	return startProxied(t, func(p *process) {
		p.journal = p.dataDir + ".journal"
		giveLogDirs(p)
	})
}

// TestNemesis writes and reads under random faults, while leaders, replicas and settings change and
// records are deleted. The second half runs without NATS, and in the last part all brokers lose
// power at the same time. The history must agree with the model, and every replica with the
// history: see nemesis and history. To run it for hours:
//
//	VARVE_NEMESIS_TIME=2h go test -race -tags invariants -timeout 3h \
//	    -run TestNemesis ./integration
func TestNemesis(t *testing.T) {
	brokers, network := startNemesisCluster(t)
	// A broker with an empty disk restarts its logs if records were deleted in between.
	expect(brokers, restartedLog)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	cached := nemesisLoad(t, client, "cached", 6, 2, everywhere)
	shortened := nemesisLoad(t, client, "shortened", 3, 0, everywhere)
	flushed := nemesisLoad(t, client, "flushed", 3, 1, everywhere, "flush.messages", "1")
	for i, p := range brokers {
		pipelineOver([]*load{cached, shortened, flushed}, p.bootstrap, 100+i, 50*time.Millisecond)
		flushed.pipeline(p.bootstrap, 200+i, 100*time.Millisecond)
	}
	cached.progress(time.Minute, "at the start")

	n, during := newNemesis(t, brokers, network, admin), nemesisTime(t, 20*time.Second, 10*time.Minute)
	n.topics, n.most = []string{"cached", "shortened", "flushed"}, oneReplica
	unrest := startUnrest(t, client, n.seed, "cached", "shortened")
	n.unrest = unrest
	n.run(during * 2 / 5)
	t.Log("from now on without NATS")
	network.doWithout(natsRoutes)
	n.run(during * 2 / 5)
	unrest.stop()
	for _, l := range []*load{cached, shortened, flushed} {
		l.progress(2*time.Minute, "after the faults")
		allInSync(t, admin, l.topic, 3)
	}
	stopLoads(cached, shortened)
	cached.checkReplicas(brokers, admin, nil)
	shortened.checkReplicas(brokers, admin, unrest.deleted)

	// If all brokers lose power, unflushed records may legitimately be lost. Only the topic that is
	// flushed remains, so that the alarms concern it alone.
	if deleted, err := admin.DeleteTopics(t.Context(), "cached", "shortened"); err != nil || deleted.Error() != nil {
		t.Fatal(errors.Join(err, deleted.Error()))
	}
	n.topics, n.most, n.damaged, n.kinds = []string{"flushed"}, unflushed, 0, faultsOfPower
	n.run(during / 5)
	flushed.progress(2*time.Minute, "after the faults")
	allInSync(t, admin, "flushed", 3)
	flushed.stop()
	flushed.checkReplicas(brokers, admin, nil)
	flushed.check(everywhere...)
}

// nemesisLoad creates a topic that follows the rules of the nemesis, and starts a load on it.
func nemesisLoad(t *testing.T, client *kgo.Client, topic string, partitions, readers int, everywhere []kgo.Opt, configs ...string) *load {
	t.Helper()
	createPlaced(t, client, topic, spread(partitions), append([]string{"min.insync.replicas", "2", "remote.storage.enable", "false"}, configs...)...)
	return startLoad(t, topic, int32(partitions), 2, readers, 100, 150, everywhere...)
}
