package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clusterState is the output of `varve cluster status --output json`.
type clusterState struct {
	State   string `json:"state"`
	Brokers []struct {
		ID       int32  `json:"id"`
		State    string `json:"state"`
		Address  string `json:"address"`
		Replicas int    `json:"replicas"`
		Leaders  int    `json:"leaders"`
	} `json:"brokers"`
	Partitions struct {
		Total           int `json:"total"`
		UnderReplicated int `json:"under_replicated"`
		BelowMinISR     int `json:"below_min_isr"`
		Offline         int `json:"offline"`
		Reassigning     int `json:"reassigning"`
	} `json:"partitions"`
	Problems []struct {
		Topic   string  `json:"topic"`
		State   string  `json:"state"`
		Missing []int32 `json:"missing"`
	} `json:"problems"`
}

// tryVarve runs a user command that may fail. The command gets the addresses of the brokers and
// nothing else.
func tryVarve(t *testing.T, brokers []*process, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	addresses := make([]string, len(brokers))
	for i, p := range brokers {
		addresses[i] = p.bootstrap
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, varveBinary, args...)
	cmd.Env = append(os.Environ(), "VARVE_BOOTSTRAP="+strings.Join(addresses, ","))
	cmd.Stdout, cmd.Stderr = &out, &errOut
	began := time.Now()
	err := cmd.Run()
	t.Logf("%v: varve %s", time.Since(began).Round(time.Millisecond), strings.Join(args, " "))
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), status
}

func mustVarve(t *testing.T, brokers []*process, args ...string) string {
	t.Helper()
	out, errOut, status := tryVarve(t, brokers, args...)
	if status != 0 {
		t.Fatalf("varve %s ends with %d: %s%s", strings.Join(args, " "), status, out, errOut)
	}
	return out
}

func statusOf(t *testing.T, brokers []*process) (s clusterState, status int) {
	t.Helper()
	out, errOut, status := tryVarve(t, brokers, "cluster", "status", "--output", "json", "--all")
	if status == 1 {
		t.Logf("cluster status: %s", errOut) // in the middle of a failover
		return s, status
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, out, errOut)
	}
	return s, status
}

// replicasOf returns the replicas and leaders of a topic's partitions.
func replicasOf(t *testing.T, brokers []*process, topic string) (replicas [][]int32, leaders []int32) {
	t.Helper()
	var described []struct {
		Partitions []struct {
			Leader   int32   `json:"leader"`
			Replicas []int32 `json:"replicas"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal([]byte(mustVarve(t, brokers, "topic", "describe", topic, "--output", "json")), &described); err != nil {
		t.Fatal(err)
	}
	for _, p := range described[0].Partitions {
		replicas, leaders = append(replicas, p.Replicas), append(leaders, p.Leader)
	}
	return replicas, leaders
}

// TestPartitionCommands is a day of an operator. A fourth broker joins and gets its share;
// partitions are moved and leaders elected; a broker is killed, and the status and its exit status
// must report the problem; the dead broker is drained. No record may be lost.
func TestPartitionCommands(t *testing.T) {
	brokers := startCluster(t)
	mustVarve(t, brokers, "topic", "create", "orders", "--partitions", "12", "--replication-factor", "3", "--config", "min.insync.replicas=2")
	mustVarve(t, brokers, "topic", "create", "strict", "--partitions", "1", "--replication-factor", "3", "--config", "min.insync.replicas=3")
	var records strings.Builder
	for i := range 200 {
		fmt.Fprintf(&records, "record %d\n", i)
	}
	brokers[0].varve(t, records.String(), "produce", "orders")
	if s, status := statusOf(t, brokers); status != 0 || s.State != "healthy" || s.Partitions.Total != 13 || len(s.Brokers) != 3 {
		t.Fatalf("status %d: %+v", status, s)
	}

	fourth := &process{bootstrap: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "4"), log: &syncBuffer{}}
	fourth.args = slices.Clone(brokers[0].args)
	for i, arg := range fourth.args {
		switch arg {
		case "--node-id":
			fourth.args[i+1] = "4"
		case "--data-dir":
			fourth.args[i+1] = fourth.dataDir
		case "--listen":
			fourth.args[i+1] = fourth.bootstrap
		}
	}
	fourth.start(t)
	t.Cleanup(func() { fourth.stop(t, syscall.SIGKILL) })
	brokers = append(brokers, fourth)

	before, _ := replicasOf(t, brokers, "orders")
	if plan := mustVarve(t, brokers, "partition", "balance", "--dry-run"); !strings.Contains(plan, "replicas to copy") {
		t.Errorf("the plan is %s", plan)
	}
	if _, errOut, status := tryVarve(t, brokers, "partition", "balance"); status != 1 || !strings.Contains(errOut, "--yes") {
		t.Errorf("without --yes: %d, %s", status, errOut)
	}
	if after, _ := replicasOf(t, brokers, "orders"); !slices.EqualFunc(before, after, slices.Equal) {
		t.Fatal("a plan that nobody agreed to was carried out")
	}
	mustVarve(t, brokers, "partition", "balance", "--yes", "--batch", "5")
	s, _ := statusOf(t, brokers)
	for _, b := range s.Brokers {
		// 39 replicas, 13 leaders.
		if b.Replicas < 9 || b.Replicas > 10 || b.Leaders < 3 || b.Leaders > 4 {
			t.Errorf("after the balance: %+v", s.Brokers)
			break
		}
	}
	if again := mustVarve(t, brokers, "partition", "balance", "--yes"); !strings.Contains(again, "nothing to change") {
		t.Errorf("a second balance says %s", again)
	}

	mustVarve(t, brokers, "partition", "move", "orders:0", "orders:1", "--to", "4,1,2", "--yes")
	replicas, _ := replicasOf(t, brokers, "orders")
	if want := []int32{4, 1, 2}; !slices.Equal(replicas[0], want) || !slices.Equal(replicas[1], want) {
		t.Errorf("after the move: %v", replicas)
	}
	mustVarve(t, brokers, "partition", "elect", "orders:0", "orders:1")
	if _, leaders := replicasOf(t, brokers, "orders"); leaders[0] != 4 || leaders[1] != 4 {
		t.Errorf("after the election: leaders %v", leaders)
	}
	if out := mustVarve(t, brokers, "partition", "elect", "orders:0"); !strings.Contains(out, "not needed") {
		t.Errorf("a second election says %s", out)
	}
	plan := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(plan, []byte(`{"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[1,2,3],"log_dirs":["any","any","any"]},`+
		`{"topic":"strict","partition":0,"replicas":[1,2,3]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	mustVarve(t, brokers, "partition", "reassign", "--file", plan, "--yes")
	if replicas, _ = replicasOf(t, brokers, "orders"); !slices.Equal(replicas[0], []int32{1, 2, 3}) {
		t.Errorf("after the file: %v", replicas)
	}

	mustVarve(t, brokers, "topic", "create", "single", "--partitions", "1", "--replication-factor", "1")
	mustVarve(t, brokers, "partition", "move", "single:0", "--to", "3", "--yes")
	brokers[2].kill9(t)
	eventually(t, time.Minute, "the status shows the dead broker", func() bool {
		var status int
		s, status = statusOf(t, brokers)
		return status == 3 && s.State == "unhealthy" && s.Partitions.BelowMinISR == 2 && s.Partitions.Offline == 1 && s.Partitions.UnderReplicated > 2 &&
			s.Problems[0].Topic == "single" && s.Problems[0].State == "offline" &&
			s.Problems[1].Topic == "strict" && s.Problems[1].State == "below-min-isr" && slices.Equal(s.Problems[1].Missing, []int32{3}) &&
			s.Brokers[2].State == "down" && s.Brokers[2].Leaders == 0
	})
	out, errOut, _ := tryVarve(t, brokers, "cluster", "status")
	if !strings.Contains(out, "down") || !strings.Contains(errOut, "unhealthy: 1 partition without a leader, 1 partition below min.insync.replicas") {
		t.Errorf("the status is %s%s", out, errOut)
	}

	// Nothing can be copied from a partition without a leader: the reassignment waits, is listed,
	// and is canceled. With no live replica there is nothing to elect either.
	mustVarve(t, brokers, "partition", "move", "single:0", "--to", "1", "--yes", "--no-wait")
	if out = mustVarve(t, brokers, "partition", "reassign", "--list"); !strings.Contains(out, "single:0") {
		t.Errorf("the list is %s", out)
	}
	if _, errOut, status := tryVarve(t, brokers, "partition", "balance", "--yes"); status != 1 || !strings.Contains(errOut, "1 reassignment under way") {
		t.Errorf("a balance beside it ends with %d: %s", status, errOut)
	}
	mustVarve(t, brokers, "partition", "reassign", "--cancel", "single:0", "--yes")
	if out = mustVarve(t, brokers, "partition", "reassign", "--list"); strings.Contains(out, "single:0") {
		t.Errorf("the list is %s", out)
	}
	if out, _, status := tryVarve(t, brokers, "partition", "elect", "--unclean", "single:0", "--yes"); status != 1 || !strings.Contains(out, "no replica is alive") {
		t.Errorf("an unclean election without replicas ends with %d: %s", status, out)
	}

	// The broker is drained of every replica that has another copy. After it has returned, it is
	// drained of the rest.
	if _, errOut, status := tryVarve(t, brokers, "partition", "balance", "--remove-broker", "3", "--yes"); status != 1 || !strings.Contains(errOut, "single:0 stays on broker 3") {
		t.Errorf("the removal of broker 3 ends with %d: %s", status, errOut)
	}
	if s, _ = statusOf(t, brokers); s.Partitions.UnderReplicated != 1 || s.Partitions.Offline != 1 {
		t.Errorf("after broker 3 was removed: %+v", s)
	}
	brokers[2].start(t)
	eventually(t, time.Minute, "the partition has a leader again", func() bool {
		_, leaders := replicasOf(t, brokers, "single")
		return leaders[0] == 3
	})
	mustVarve(t, brokers, "partition", "balance", "--remove-broker", "3", "--yes")
	s, status := statusOf(t, brokers)
	if status != 0 || s.State != "healthy" || s.Partitions.Reassigning != 0 || s.Brokers[2].Replicas != 0 {
		t.Errorf("after broker 3 was emptied: status %d, %+v", status, s)
	}
	if read := mustVarve(t, brokers, "consume", "orders", "--from", "beginning", "--until", "end"); strings.Count(read, "record ") != 200 {
		t.Errorf("%d of 200 records are there", strings.Count(read, "record "))
	}
}
