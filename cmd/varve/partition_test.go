package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/client"
)

func tp(topic string, partition int32) client.TopicPartition {
	return client.TopicPartition{Topic: topic, Partition: partition}
}

// TestReassignFile: the format is Kafka's. The output of kafka-reassign-partitions --generate is
// read, and what could not be honored is rejected.
func TestReassignFile(t *testing.T) {
	got, err := parseReassignFile([]byte(`{"version":1,"partitions":[{"topic":"a","partition":1,"replicas":[3,1],"log_dirs":["any","any"]},{"topic":"b","partition":0,"replicas":[2]}]}`))
	want := []client.Assignment{{TopicPartition: tp("a", 1), Replicas: []int32{3, 1}}, {TopicPartition: tp("b", 0), Replicas: []int32{2}}}
	if err != nil || !slices.EqualFunc(got, want, func(a, b client.Assignment) bool {
		return a.TopicPartition == b.TopicPartition && slices.Equal(a.Replicas, b.Replicas)
	}) {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		`nonsense`:                      "not a reassignment in JSON",
		`{"version":2,"partitions":[]}`: "version 2: want 1",
		`{"version":1,"partitions":[]}`: "no partitions",
		`{"version":1,"partitions":[{"topic":"a","replicas":[1]}]}`:                                                             "entry 0: want a topic and a partition",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":["/disk"]}]}`:                          "a:0: log_dirs [/disk]",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1]},{"topic":"a","partition":0,"replicas":[2]}]}`:    "a:0 is there twice",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":["one"]}]}`:                                           "not a reassignment in JSON",
		`{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1]}],"more":[` + strings.Repeat("[", 20_000) + `]]}`: "not a reassignment in JSON",
	} {
		if _, err := parseReassignFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want %s", text, err, want)
		}
	}
}

// TestBalanceNamesBrokersThatAreDown: the one that has replicas and is not registered as well, and
// no other.
func TestBalanceNamesBrokersThatAreDown(t *testing.T) {
	brokers := []client.Broker{{ID: 1}, {ID: 2, Fenced: true}}
	for _, c := range []struct {
		replicas []int32
		brokers  []client.Broker
		want     string
	}{
		{[]int32{1}, brokers[:1], ""},
		{[]int32{1, 2, 7}, brokers, "broker 2 is down: it keeps 1 replica (--remove-broker 2 moves them off)\n" +
			"broker 7 is down: it keeps 1 replica (--remove-broker 7 moves them off)\n"},
	} {
		var errOut bytes.Buffer
		in := balanceInput{Partitions: []balancePartition{{TopicPartition: tp("a", 0), Replicas: c.replicas}}}
		a := &app{streams: streams{errOut: &errOut}}
		if err := a.noteStaying(in, c.brokers); err != nil || errOut.String() != c.want {
			t.Errorf("%v: %q, %v; want %q", c.replicas, errOut.String(), err, c.want)
		}
	}
}

func placedAt(replicas map[client.TopicPartition][]int32) placed {
	p := placed{at: map[client.TopicPartition]client.Partition{}}
	for tp, r := range replicas {
		p.at[tp] = client.Partition{ID: tp.Partition, Leader: r[0], Replicas: r, ISR: r}
	}
	return p
}

func TestPlanMoves(t *testing.T) {
	now := placedAt(map[client.TopicPartition][]int32{tp("a", 0): {1, 2}, tp("a", 1): {2, 1}, tp("a", 2): {3, 1}, tp("a", 3): {4, 1, 2}})
	want := func(at client.TopicPartition, replicas ...int32) client.Assignment {
		return client.Assignment{TopicPartition: at, Replicas: replicas}
	}
	moves, err := planMoves([]client.Assignment{
		want(tp("a", 2), 3, 2),    // a replica that is down may stay
		want(tp("a", 1), 1, 2),    // another order
		want(tp("a", 0), 1, 2),    // nothing to do
		want(tp("a", 3), 4, 1, 2), // replaces the one in progress, though the lists are equal
	}, now, threeBrokers.Brokers, []client.Reassignment{{TopicPartition: tp("a", 3), Replicas: []int32{4, 1, 2}, Adding: []int32{4}}})
	var got strings.Builder
	for i := range moves {
		fmt.Fprintf(&got, "%s %v>%v+%v ", moves[i].TopicPartition, moves[i].From, moves[i].To, moves[i].added())
	}
	if want := "a:1 [2 1]>[1 2]+[] a:2 [3 1]>[3 2]+[2] a:3 [1 2]>[4 1 2]+[4] "; err != nil || got.String() != want {
		t.Errorf("got %s, %v\nwant %s", got.String(), err, want)
	}
	for _, c := range []struct {
		assignment client.Assignment
		want       string
	}{
		{want(tp("a", 0)), "a:0: name at least one replica"},
		{want(tp("a", 0), 1, 1), "a:0: broker 1 is named twice"},
		{want(tp("a", 0), 1, 3), "a:0: broker 3 is not alive"},
		{want(tp("a", 0), 1, 4), "a:0: broker 4 is not alive"}, // fenced
		{want(tp("a", 9), 1, 2), "a:9: it does not exist"},
	} {
		if _, err := planMoves([]client.Assignment{c.assignment}, now, threeBrokers.Brokers, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %s", c.assignment, err, c.want)
		}
	}
}

var someMoves = []reassignMove{
	{TopicPartition: tp("a", 0), From: []int32{1, 2}, To: []int32{1, 3}, Bytes: 2048},
	{TopicPartition: tp("b", 7), From: []int32{1}, To: []int32{2, 3}, Bytes: client.Unknown},
}

func TestPlanTable(t *testing.T) {
	a, out := testApp("table")
	if err := a.printMoves(someMoves); err != nil {
		t.Fatal(err)
	}
	want := `
TOPIC  PARTITION  REPLICAS  TO   ADD  REMOVE  BYTES
a      0          1,2       1,3  3    2       2.0 KiB
b      7          1         2,3  2,3  1       -
2 partitions change, 3 replicas to copy, about 2.0 KiB on local disks; 1 partition get another number of replicas
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestPlanJSONCanBeCarriedOut: --file reads the JSON that --dry-run prints.
func TestPlanJSONCanBeCarriedOut(t *testing.T) {
	a, out := testApp("json")
	if err := a.printMoves(someMoves); err != nil {
		t.Fatal(err)
	}
	read, err := parseReassignFile(out.Bytes())
	if err != nil || len(read) != 2 || read[1].TopicPartition != tp("b", 7) || !slices.Equal(read[1].Replicas, []int32{2, 3}) {
		t.Errorf("got %v, %v", read, err)
	}
}

func TestAssignmentsAsArguments(t *testing.T) {
	a, _ := testApp("table")
	// the broker rejects a colon in a name
	got, err := a.assignments([]string{"a:b:0=1,2", "c:12=3"}, "")
	if err != nil || got[0].TopicPartition != tp("a:b", 0) || !slices.Equal(got[0].Replicas, []int32{1, 2}) || got[1].TopicPartition != tp("c", 12) {
		t.Errorf("got %v, %v", got, err)
	}
	file := filepath.Join(t.TempDir(), "plan.json")
	if err = os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = a.assignments(nil, file); err == nil || !strings.Contains(err.Error(), file+": version 0: want 1") {
		t.Errorf("got %v", err)
	}
}

func TestPartitionArgs(t *testing.T) {
	topics := []client.Topic{{Name: "a", Partitions: []client.Partition{{ID: 0}, {ID: 1}}}, {Name: "b", Partitions: []client.Partition{{ID: 0}}}}
	got, err := partitionArgs([]string{"b:0", "a", "a:1"}, topics)
	if err != nil || !slices.Equal(got, []client.TopicPartition{tp("b", 0), tp("a", 0), tp("a", 1)}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err = partitionArgs([]string{"nope", "a:x"}, topics); err == nil || !strings.Contains(err.Error(), "topic nope: it does not exist") || !strings.Contains(err.Error(), `"a:x"`) {
		t.Errorf("got %v", err)
	}
}

// TestElectionResults: each partition has its line. A leader that leads already is not a failure.
func TestElectionResults(t *testing.T) {
	a, out := testApp("table")
	unavailable := fmt.Errorf("t:2: %w", kerr.PreferredLeaderNotAvailable)
	err := a.printElections([]client.PartitionResult{
		{TopicPartition: tp("t", 0)}, {TopicPartition: tp("t", 1), Err: kerr.ElectionNotNeeded}, {TopicPartition: tp("t", 2), Err: unavailable},
	})
	want := "PARTITION  RESULT\nt:0        elected\nt:1        not needed\nt:2        preferred replica is not in sync\n"
	if out.String() != want || !errors.Is(err, kerr.PreferredLeaderNotAvailable) || errors.Is(err, kerr.ElectionNotNeeded) {
		t.Errorf("got %s, %v", out, err)
	}
}

// TestLeaderless: an unclean election takes only partitions without a leader. The broker reports
// partitions that do not exist.
func TestLeaderless(t *testing.T) {
	now := placedAt(map[client.TopicPartition][]int32{tp("a", 0): {1}, tp("a", 1): {2}})
	dead := now.at[tp("a", 1)]
	dead.Leader = -1
	now.at[tp("a", 1)] = dead
	now.topics = []client.Topic{{Name: "a", Partitions: []client.Partition{{ID: 0}, {ID: 1}}}}
	if got := leaderless(nil, now); !slices.Equal(got, []client.TopicPartition{tp("a", 1)}) {
		t.Errorf("of all: %v", got)
	}
	if got := leaderless([]client.TopicPartition{tp("a", 0), tp("b", 0)}, now); !slices.Equal(got, []client.TopicPartition{tp("b", 0)}) {
		t.Errorf("of named: %v", got)
	}
}

func TestConfirm(t *testing.T) {
	for answer, agreed := range map[string]bool{"y\n": true, "YES\n": true, "yes": true, "\n": false, "": false, "no\n": false, "yess\n": false} {
		var out bytes.Buffer
		if err := ask(strings.NewReader(answer), &out, "Do it?"); (err == nil) != agreed || out.String() != "Do it? [y/N] " {
			t.Errorf("%q: %v, %q", answer, err, out.String())
		}
	}
	a, _ := testApp("table")
	a.in = strings.NewReader("y\n")
	if err := a.confirm("Do it?", false); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("a pipe is asked: %v", err)
	}
	if err := a.confirm("Do it?", true); err != nil {
		t.Error(err)
	}
}

// TestBalanceOfCluster: a balance leaves dead brokers alone unless --remove-broker names them, and
// reports what could not be moved.
func TestBalanceOfCluster(t *testing.T) {
	now := placedAt(map[client.TopicPartition][]int32{tp("a", 0): {3, 1}})
	now.topics = []client.Topic{{Name: "a", Partitions: []client.Partition{{ID: 0, Leader: -1, Replicas: []int32{3, 1}}, {ID: 1, Leader: 1, Replicas: []int32{1, 3}}, {ID: 2}}}}
	in, err := balanceOf(now, threeBrokers.Brokers, nil)
	if err != nil || len(in.Racks) != 2 || in.Racks[2] != "b" || len(in.Partitions) != 2 || !in.Partitions[0].Fixed || in.Partitions[1].Fixed {
		t.Errorf("got %+v, %v", in, err)
	}
	a, _ := testApp("table")
	if err = a.noteStaying(in, threeBrokers.Brokers); err != nil {
		t.Fatal(err)
	}
	note := a.errOut.(*bytes.Buffer).String()
	if !strings.Contains(note, "broker 3 is down: it keeps 2 replicas (--remove-broker 3 moves them off)") {
		t.Errorf("the note is %q", note)
	}
	in, err = balanceOf(now, threeBrokers.Brokers, []int32{3})
	if err != nil || !in.Remove[3] {
		t.Fatalf("got %+v, %v", in, err)
	}
	if err = left(in); err == nil || !strings.Contains(err.Error(), "a:0 stays on broker 3") || strings.Contains(err.Error(), "a:1") {
		t.Errorf("left: %v", err)
	}
	target, err := balance(in)
	if err != nil || !slices.Equal(target[0], []int32{3, 1}) || slices.Contains(target[1], 3) {
		t.Errorf("target %v, %v", target, err)
	}
	if _, err = balanceOf(now, threeBrokers.Brokers, []int32{9}); err == nil || !strings.Contains(err.Error(), "--remove-broker 9: there is no such broker") {
		t.Errorf("got %v", err)
	}
	if _, err = balanceOf(now, threeBrokers.Brokers, []int32{1, 2}); err == nil || !strings.Contains(err.Error(), "no live broker would be left") {
		t.Errorf("got %v", err)
	}
}
