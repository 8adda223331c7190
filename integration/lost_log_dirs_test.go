package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/integration/crashfs"
)

// giveLogDirs makes a broker keep its logs in two directories. It must be called before the start.
func giveLogDirs(p *process) {
	p.logDirs = []string{filepath.Join(p.dataDir, "logs-a"), filepath.Join(p.dataDir, "logs-b")}
	p.args = append(p.args, "--set", "log.dirs="+strings.Join(p.logDirs, ","))
}

// onSecondDir returns the partitions of a topic in the second log directory of a broker. There must
// be some.
func onSecondDir(t *testing.T, p *process, topic string) (numbers []int32) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.logDirs[1], topic+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		number, err := strconv.ParseInt(strings.TrimPrefix(filepath.Base(name), topic+"-"), 10, 32)
		if err == nil { // otherwise it is being deleted or moved
			numbers = append(numbers, int32(number))
		}
	}
	if len(numbers) == 0 {
		t.Fatalf("no partition of %s is in %s", topic, p.logDirs[1])
	}
	return numbers
}

// TestFailedLogDirHandsOver makes one of a broker's log directories fail while the broker runs.
// Every partition must accept records again, from another leader if needed. Nothing acknowledged
// may be lost, not even by the restart that brings the directory back. The test logs how long the
// partitions in that directory acknowledged nothing, separately for those that the broker leads and
// follows.
func TestFailedLogDirHandsOver(t *testing.T) {
	const partitions = 12
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
	replicas := slices.Concat(
		slices.Repeat([][]int32{{1, 2, 3}}, partitions/2), slices.Repeat([][]int32{{2, 1, 3}}, partitions/2))
	createInSync(t, client, "handed", replicas, "min.insync.replicas", "2")
	l := startLoad(t, "handed", partitions, 2, 1, 200, 100, everywhere...)
	l.pipelines(brokers, 20*time.Millisecond)
	for range testRounds(1, 5) {
		l.progress(time.Minute, "at the start")
		var led, followed []int32
		for _, number := range onSecondDir(t, fails, "handed") {
			if replicas[number][0] == 1 {
				led = append(led, number)
			} else {
				followed = append(followed, number)
			}
		}
		if err := crashfs.Break(fails.journal, fails.logDirs[1]); err != nil {
			t.Fatal(err)
		}
		failed := l.history.now()
		l.logResumed("that it led", led, failed)
		l.logResumed("that it followed", followed, failed)
		l.progress(time.Minute, "with a directory that has failed")
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

// logResumed waits until partitions acknowledge records that were sent after an instant, and logs
// how long that took. It does so for producers that ask each broker all the time, and for those of
// franz-go, which look for the new leader and retry.
func (l *load) logResumed(which string, partitions []int32, since instant) {
	l.t.Helper()
	for what, counted := range map[string]func(producer int) bool{
		"by any broker that is asked": func(producer int) bool { return producer >= 100 },
		"to a client that retries":    func(producer int) bool { return producer < 100 },
	} {
		took := make([]time.Duration, len(partitions))
		eventually(l.t, 30*time.Second, "partitions "+which+" acknowledge records again", func() bool {
			for i, number := range partitions {
				after, yes := l.history.resumed(number, since, counted)
				if !yes {
					return false
				}
				took[i] = after.Round(time.Millisecond)
			}
			return true
		})
		if len(took) > 0 {
			sorted := slices.Sorted(slices.Values(took))
			l.t.Logf("partitions %v %s are acknowledged again %s after %v: median %v, worst %v",
				partitions, which, what, took, sorted[len(sorted)/2], sorted[len(sorted)-1])
		}
	}
}

// TestEmptyReplicaDoesNotLead kills both replicas of a topic. One of them loses a log directory,
// returns first, and starts there with empty logs. The other one, which has everything, must lead.
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
	createInSync(t, client, "emptied", slices.Repeat([][]int32{{1, 2}}, partitions), "min.insync.replicas", "2")
	l := startLoad(t, "emptied", partitions, 2, 0, 200, 100, everywhere...)
	for round := range testRounds(1, 4) {
		l.progress(time.Minute, fmt.Sprintf("before round %d", round+1))
		loses, whole := brokers[round%2], brokers[1-round%2]
		onSecondDir(t, loses, "emptied")
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
