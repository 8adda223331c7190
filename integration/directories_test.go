package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFailedDirectoryHandsOver takes one of two directories from a broker under load: others lead what was in it, records are acknowledged on
// every partition, and nothing is lost. Then the broker gets the directory back.
func TestFailedDirectoryHandsOver(t *testing.T) {
	const partitions = 6
	disks := t.TempDir()
	disk := func(node int, name string) string { return filepath.Join(disks, strconv.Itoa(node)+name) }
	brokers := startClusterOf(t, func(node int) []string {
		return []string{
			"--set", "log.dirs=" + disk(node, "a") + "," + disk(node, "b"), "--set", "log.flush.offset.checkpoint.interval.ms=100",
		}
	})
	everywhere := clusterClient(brokers)
	client := newClient(t, brokers[0].bootstrap, everywhere...)
	admin := kadm.NewClient(client)
	placed := make([][]int32, partitions) // broker 1 leads all, so that some are on its second disk
	for i := range placed {
		placed[i] = []int32{1, 2, 3}
	}
	createPlaced(t, client, "numbers", placed, "min.insync.replicas", "2")
	numbers := startNumbers(t, brokers[0].bootstrap, "numbers", partitions, 500, everywhere...)
	numbers.readAlong(brokers[0].bootstrap, everywhere...)
	progress := func(what string) {
		t.Helper()
		_, before := numbers.count()
		eventually(t, time.Minute, "every partition takes records "+what, func() bool { _, now := numbers.count(); return now > before+100 })
	}
	progress("at the start")
	led := func() (n int) { // by broker 1, from its second disk
		for _, p := range partitionsOf(t, admin, "numbers") {
			if _, err := os.Stat(filepath.Join(disk(1, "b"), "numbers-"+strconv.Itoa(int(p.Partition)))); err == nil && p.Leader == 1 {
				n++
			}
		}
		return n
	}
	eventually(t, time.Minute, "broker 1 leads from its second disk", func() bool { return led() > 0 })
	inB, err := filepath.Glob(filepath.Join(disk(1, "b"), "numbers-*"))
	if err != nil {
		t.Fatal(err)
	}
	away := disk(1, "b") + ".away"
	if err := errors.Join(os.Rename(disk(1, "b"), away), os.WriteFile(disk(1, "b"), nil, 0o644)); err != nil { // a file where a directory should be
		t.Fatal(err)
	}
	failed := time.Now()
	eventually(t, time.Minute, "broker 1 is in no in-sync set of what was on the disk", func() bool {
		for _, p := range partitionsOf(t, admin, "numbers") {
			if onDisk := slices.Contains(inB, filepath.Join(disk(1, "b"), "numbers-"+strconv.Itoa(int(p.Partition)))); onDisk && slices.Contains(p.ISR, 1) {
				return false
			}
		}
		return true
	})
	t.Logf("others lead %v after the disk was taken", time.Since(failed))
	progress("without a disk")

	brokers[0].kill9(t)
	if err := errors.Join(os.Remove(disk(1, "b")), os.Rename(away, disk(1, "b"))); err != nil {
		t.Fatal(err)
	}
	brokers[0].start(t)
	allInSync(t, admin, "numbers", 3)
	progress("with the disk again")
	numbers.stop()
	numbers.check(brokers[0].bootstrap, everywhere...)
}

// TestAllAreKilledAndOneStaysAway kills all brokers at once and starts two of them: they lead everything that one of them was in sync with, and what
// only the third had waits for it, and is named with it.
func TestAllAreKilledAndOneStaysAway(t *testing.T) {
	const partitions = 6
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, everywhere...))
	if _, err := admin.CreateTopic(t.Context(), partitions, 3, map[string]*string{"min.insync.replicas": new("2")}, "numbers"); err != nil {
		t.Fatal(err)
	}
	mustVarve(t, brokers, "topic", "create", "alone", "--partitions", "3", "--replication-factor", "1")
	numbers := startNumbers(t, brokers[0].bootstrap, "numbers", partitions, 500, everywhere...)
	numbers.readAlong(brokers[0].bootstrap, everywhere...)
	progress := func(what string) {
		t.Helper()
		_, before := numbers.count()
		eventually(t, time.Minute, "every partition takes records "+what, func() bool { _, now := numbers.count(); return now > before+100 })
	}
	progress("at the start")
	together(brokers, func(p *process) { p.kill9(t) })
	began := time.Now()
	together(brokers[:2], func(p *process) { p.start(t) })
	eventually(t, time.Minute, "all that is not broker 3's alone has a leader", func() bool {
		for _, p := range partitionsOf(t, admin, "numbers") {
			if p.Leader != 1 && p.Leader != 2 {
				return false
			}
		}
		return true
	})
	t.Logf("leaders %v after the start", time.Since(began))
	progress("without broker 3")
	if !waitsFor(t, brokers[0], "alone", 3) {
		t.Error("no partition is said to wait for broker 3")
	}
	brokers[2].start(t)
	eventually(t, time.Minute, "nothing waits", func() bool { return !waitsFor(t, brokers[0], "alone", 3) })
	allInSync(t, admin, "numbers", 3)
	numbers.stop()
	numbers.check(brokers[0].bootstrap, everywhere...)
}

func partitionsOf(t *testing.T, admin *kadm.Client, topic string) kadm.PartitionDetails {
	t.Helper()
	topics, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return topics[topic].Partitions
}

// electionStatus is what `varve cluster status` says of elections.
type electionStatus struct {
	Problems []struct {
		Topic    string  `json:"topic"`
		State    string  `json:"state"`
		WaitsFor []int32 `json:"waits_for"`
	} `json:"problems"`
}

// waitsFor reports whether the status has a partition of a topic without a leader that waits for a broker.
func waitsFor(t *testing.T, p *process, topic string, broker int32) bool {
	t.Helper()
	var status electionStatus
	out, _, exit := tryVarve(t, []*process{p}, "cluster", "status", "--output", "json", "--all")
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, problem := range status.Problems {
		if problem.Topic == topic && problem.State == "offline" && slices.Contains(problem.WaitsFor, broker) {
			if exit != 3 {
				t.Errorf("the exit status is %d", exit)
			}
			return true
		}
	}
	return false
}

// TestReplacedDiskDestroysNoCopy stops a follower, then takes the disk of the leader, which is the only one in sync, and starts that broker with an
// empty one. It must not lead: the follower's copy would be cut down to nothing. An unclean election takes the follower, which has more.
func TestReplacedDiskDestroysNoCopy(t *testing.T) {
	const records = 50
	disks := t.TempDir()
	disk := func(node int32) string { return filepath.Join(disks, strconv.Itoa(int(node))) }
	brokers := startClusterOf(t, func(node int) []string { return []string{"--set", "log.dirs=" + disk(int32(node))} })
	everywhere := clusterClient(brokers)
	client := newClient(t, brokers[0].bootstrap, append(everywhere, kgo.DefaultProduceTopic("kept"))...)
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), 1, 2, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	for range records {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	p := partitionsOf(t, admin, "kept")[0]
	leader := p.Leader
	follower := p.Replicas[0] + p.Replicas[1] - leader
	brokers[follower-1].stop(t, syscall.SIGTERM)
	brokers[leader-1].kill9(t)
	if err := os.RemoveAll(disk(leader)); err != nil {
		t.Fatal(err)
	}
	brokers[follower-1].start(t) // which makes a majority of etcd again
	eventually(t, time.Minute, "the dead broker's registration has ended", func() bool {
		alive, err := admin.ListBrokers(t.Context())
		return err == nil && !slices.Contains(alive.NodeIDs(), leader)
	})
	brokers[leader-1].start(t)
	status := func() (state string, exit int) {
		t.Helper()
		out, _, exit := tryVarve(t, brokers, "cluster", "status", "--output", "json", "--all")
		var s electionStatus
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		for _, problem := range s.Problems {
			if problem.Topic == "kept" && len(problem.WaitsFor) == 0 {
				state = problem.State
			}
		}
		return state, exit
	}
	if state, exit := status(); state != "offline" || exit != 3 {
		t.Fatalf("the partition is %q, exit status %d", state, exit)
	}
	expect(brokers, uncleanElection)
	mustVarve(t, brokers, "partition", "elect", "--unclean", "kept:0", "--yes")
	if p = partitionsOf(t, admin, "kept")[0]; p.Leader != follower {
		t.Errorf("leader %d of %v, want %d", p.Leader, p.Replicas, follower)
	}
	ends, err := admin.ListEndOffsets(t.Context(), "kept")
	if end, _ := ends.Lookup("kept", 0); err != nil || end.Offset != records {
		t.Errorf("%d records are left of %d, %v", end.Offset, records, err)
	}
	if state, exit := status(); state != "unclean" || exit != 3 {
		t.Errorf("after the election the partition is %q, exit status %d", state, exit)
	}
}
