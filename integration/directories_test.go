package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFailedDirectoryHandsOver takes one of two directories from a broker under load. Other brokers
// must lead the partitions in it, every partition must acknowledge records, and nothing may be
// lost. Then the broker gets the directory back.
func TestFailedDirectoryHandsOver(t *testing.T) {
	brokers := clusterOf(t, func(int) []string { return []string{"--set", "log.flush.offset.checkpoint.interval.ms=100"} })
	for _, p := range brokers {
		giveLogDirs(p)
	}
	startTogether(t, brokers)
	// Broker 1 leads all partitions, so some of those that it leads are on its second disk.
	numbers, admin := startReplicated(t, brokers, slices.Repeat([][]int32{{1, 2, 3}}, 6))
	onDisk := onSecondDir(t, brokers[0], "numbers")
	// inSync reports whether broker 1 is in sync for a partition that is or was on its second disk.
	inSync := func() bool {
		partitions := partitionsOf(t, admin, "numbers")
		return slices.ContainsFunc(onDisk, func(number int32) bool { return slices.Contains(partitions[number].ISR, 1) })
	}
	eventually(t, time.Minute, "broker 1 leads from its second disk", func() bool {
		return partitionsOf(t, admin, "numbers")[onDisk[0]].Leader == 1
	})
	giveBack := takeAway(t, brokers[0].logDirs[1])
	failed := time.Now()
	eventually(t, time.Minute, "broker 1 is in no in-sync set of what was on the disk", func() bool { return !inSync() })
	t.Logf("others lead %v after the disk was taken", time.Since(failed))
	numbers.progress("without a disk")

	brokers[0].kill9(t)
	giveBack()
	brokers[0].start(t)
	allInSync(t, admin, "numbers", 3)
	numbers.progress("with the disk again")
	numbers.stop()
	numbers.check()
}

// TestAllAreKilledAndOneStaysAway kills all brokers at the same time and restarts two of them. They
// must lead every partition for which one of them was in sync. Partitions only on the third must
// wait for it, and the status must name both.
func TestAllAreKilledAndOneStaysAway(t *testing.T) {
	sideBySide(t)
	brokers := startCluster(t)
	mustVarve(t, brokers, "topic", "create", "alone", "--partitions", "3", "--replication-factor", "1")
	numbers, admin := startReplicated(t, brokers, spread(6))
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
	numbers.progress("without broker 3")
	waiting := func() bool {
		return slices.ContainsFunc(problemsOf(t, brokers[0], "alone"), func(p electionProblem) bool {
			return p.State == "offline" && slices.Contains(p.WaitsFor, 3)
		})
	}
	if !waiting() {
		t.Error("no partition is said to wait for broker 3")
	}
	brokers[2].start(t)
	eventually(t, time.Minute, "nothing waits", func() bool { return !waiting() })
	allInSync(t, admin, "numbers", 3)
	numbers.stop()
	numbers.check()
}

func partitionsOf(t *testing.T, admin *kadm.Client, topic string) kadm.PartitionDetails {
	t.Helper()
	topics, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return topics[topic].Partitions
}

// electionProblem is a problem with the election of a partition in `varve cluster status`.
type electionProblem struct {
	Topic    string  `json:"topic"`
	State    string  `json:"state"`
	WaitsFor []int32 `json:"waits_for"`
}

// problemsOf returns the problems of a topic. The exit status must report them as well.
func problemsOf(t *testing.T, p *process, topic string) []electionProblem {
	t.Helper()
	var status struct {
		Problems []electionProblem `json:"problems"`
	}
	out, _, exit := tryVarve(t, []*process{p}, "cluster", "status", "--output", "json", "--all")
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	ofTopic := slices.DeleteFunc(status.Problems, func(p electionProblem) bool { return p.Topic != topic })
	if len(ofTopic) > 0 && exit != 3 {
		t.Errorf("the exit status is %d with %+v", exit, ofTopic)
	}
	return ofTopic
}

// TestReplacedDiskDestroysNoCopy stops a follower, then replaces the disk of the leader, which is
// the only in-sync replica, and starts that broker with the empty disk. It must not lead, because
// the follower would truncate its copy to nothing. An unclean election must choose the follower,
// which has more records.
func TestReplacedDiskDestroysNoCopy(t *testing.T) {
	const records = 50
	brokers := startCluster(t)
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
	if err := os.RemoveAll(filepath.Join(brokers[leader-1].dataDir, "logs")); err != nil {
		t.Fatal(err)
	}
	brokers[follower-1].start(t) // this restores a majority of etcd
	eventually(t, time.Minute, "the dead broker's registration has ended", func() bool {
		alive, err := admin.ListBrokers(t.Context())
		return err == nil && !slices.Contains(alive.NodeIDs(), leader)
	})
	brokers[leader-1].start(t)
	mustBe := func(state string) {
		t.Helper()
		problems := problemsOf(t, brokers[follower-1], "kept")
		if len(problems) != 1 || problems[0].State != state || len(problems[0].WaitsFor) > 0 {
			t.Fatalf("the partition is to be %s, and is %+v", state, problems)
		}
	}
	mustBe("offline")
	expect(brokers, uncleanElection)
	mustVarve(t, brokers, "partition", "elect", "--unclean", "kept:0", "--yes")
	if p = partitionsOf(t, admin, "kept")[0]; p.Leader != follower {
		t.Errorf("leader %d of %v, want %d", p.Leader, p.Replicas, follower)
	}
	eventually(t, time.Minute, "the new leader says that it has all records", func() bool {
		ends, err := admin.ListEndOffsets(t.Context(), "kept")
		end, _ := ends.Lookup("kept", 0) // it has an error until the leader has committed a record
		return err == nil && end.Err == nil && end.Offset == records
	})
	mustBe("unclean")
}
