package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/integration/crashfs"
)

// giveLogDirs has a broker, before it starts, keep its logs in two directories.
func giveLogDirs(p *process) {
	p.logDirs = []string{filepath.Join(p.dataDir, "logs-a"), filepath.Join(p.dataDir, "logs-b")}
	p.args = append(p.args, "--set", "log.dirs="+strings.Join(p.logDirs, ","))
}

// onSecondDir are the partitions of a topic that a broker has in the second of its log directories.
func onSecondDir(t *testing.T, p *process, topic string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.logDirs[1], topic+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFailedLogDirHandsOver has one of a broker's log directories fail while the broker goes on:
// every partition takes records again, from another leader where it has to be, and nothing that was
// acknowledged is lost, also not by the restart that brings the directory back.
func TestFailedLogDirHandsOver(t *testing.T) {
	const partitions = 6
	brokers := clusterOf(t, func(int) []string { return nil })
	for _, p := range brokers {
		giveLogDirs(p)
		p.journal = p.dataDir + ".journal"
	}
	startTogether(t, brokers)
	fails := brokers[0]
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	var replicas [][]int32
	for range partitions {
		replicas = append(replicas, []int32{1, 2, 3})
	}
	createPlaced(t, client, "handed", replicas, "remote.storage.enable", "false", "min.insync.replicas", "2")
	allInSync(t, admin, "handed", 3)
	l := startLoad(t, "handed", partitions, 2, 1, 200, 100, everywhere...)
	for i, p := range brokers {
		l.pipeline(p.bootstrap, 100+i, 20*time.Millisecond)
	}
	for range testRounds(1, 5) {
		l.progress(time.Minute, "at the start")
		if len(onSecondDir(t, fails, "handed")) == 0 {
			t.Fatal("no partition is in the directory that will fail")
		}
		if err := crashfs.Break(fails.journal, fails.logDirs[1]); err != nil {
			t.Fatal(err)
		}
		l.progress(20*time.Second, "with a directory that has failed")
		fails.kill9(t)
		if err := crashfs.Mend(fails.journal); err != nil {
			t.Fatal(err)
		}
		fails.start(t)
		allInSync(t, admin, "handed", 3)
		if _, err := electPreferred(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	l.stop()
	l.checkReplicas(brokers, admin, nil)
}

// TestEmptyReplicaDoesNotLead kills both replicas of a topic, of which one loses a log directory,
// comes back first and begins there with empty logs: the other one, which has everything, must
// lead.
func TestEmptyReplicaDoesNotLead(t *testing.T) {
	const partitions = 6
	brokers := clusterOf(t, func(int) []string { return nil })
	for _, p := range brokers {
		giveLogDirs(p)
	}
	startTogether(t, brokers)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	var replicas [][]int32
	for range partitions {
		replicas = append(replicas, []int32{1, 2})
	}
	createPlaced(t, client, "emptied", replicas, "remote.storage.enable", "false", "min.insync.replicas", "2")
	allInSync(t, admin, "emptied", 2)
	l := startLoad(t, "emptied", partitions, 2, 0, 200, 100, everywhere...)
	for round := range testRounds(1, 4) {
		l.progress(time.Minute, fmt.Sprintf("before round %d", round+1))
		loses, whole := brokers[round%2], brokers[1-round%2]
		if len(onSecondDir(t, loses, "emptied")) == 0 {
			t.Fatal("no partition is in the directory that will be lost")
		}
		together([]*process{loses, whole}, func(p *process) { p.kill9(t) })
		loses.startWith(t, "--set", "varve.lost.log.dirs="+emptied(t, loses.logDirs[1]))
		whole.start(t)
		allInSync(t, admin, "emptied", 2)
	}
	l.progress(time.Minute, "at the end")
	l.stop()
	allInSync(t, admin, "emptied", 2)
	l.checkReplicas(brokers, admin, nil)
}
