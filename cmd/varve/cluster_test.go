package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/client"
)

var threeBrokers = client.Cluster{ID: "c", Controller: 1, Brokers: []client.Broker{
	{ID: 1, Address: "h1:9092", Rack: "a"}, {ID: 2, Address: "h2:9092", Rack: "b"}, {ID: 4, Address: "h4:9092", Fenced: true},
}}

func TestProblemsOfPartitions(t *testing.T) {
	list := func(ids ...int32) []int32 { return ids }
	for name, c := range map[string]struct {
		p       client.Partition
		minISR  int
		adding  []int32
		want    string
		missing []int32
	}{
		"all in sync":           {client.Partition{Leader: 1, Replicas: list(1, 2, 3), ISR: list(3, 2, 1)}, 2, nil, "", nil},
		"one lacks":             {client.Partition{Leader: 1, Replicas: list(1, 2, 3), ISR: list(1, 2)}, 2, nil, "under-replicated", list(3)},
		"too few":               {client.Partition{Leader: 1, Replicas: list(1, 2, 3), ISR: list(1)}, 2, nil, "below-min-isr", list(2, 3)},
		"fewer replicas than":   {client.Partition{Leader: 1, Replicas: list(1), ISR: list(1)}, 2, nil, "", nil},
		"no leader":             {client.Partition{Leader: -1, Replicas: list(1, 2), ISR: list(2), Offline: list(1, 2)}, 1, nil, "offline", list(1, 2)},
		"dead and still in ISR": {client.Partition{Leader: 1, Replicas: list(1, 2), ISR: list(1, 2), Offline: list(2)}, 1, nil, "under-replicated", list(2)},
		"elected uncleanly":     {client.Partition{Leader: 1, LeaderEpoch: 4, UncleanEpoch: 4, Replicas: list(1, 2), ISR: list(1)}, 1, nil, "unclean", list(2)},
		"cleanly since":         {client.Partition{Leader: 1, LeaderEpoch: 5, UncleanEpoch: 4, Replicas: list(1, 2), ISR: list(1, 2)}, 1, nil, "", nil},
		"being added":           {client.Partition{Leader: 1, Replicas: list(4, 1, 2), ISR: list(1, 2)}, 2, list(4), "", nil},
		"one lacks, one added":  {client.Partition{Leader: 1, Replicas: list(4, 1, 2), ISR: list(1)}, 1, list(4), "under-replicated", list(2)},
	} {
		got := problemOf("t", c.p, c.minISR, c.adding)
		if got.State != c.want || !slices.Equal(got.Missing, c.missing) {
			t.Errorf("%s: %q, missing %v; want %q, %v", name, got.State, got.Missing, c.want, c.missing)
		}
	}
}

func sickTopics() []client.Topic {
	return []client.Topic{
		{Name: "lacks", Partitions: []client.Partition{{ID: 0, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}}},
		{Name: "off", Partitions: []client.Partition{{ID: 0, Leader: -1, Replicas: []int32{3}, ISR: []int32{3}, Offline: []int32{3}, Awaited: []int32{3}}}},
		{Name: "well", Partitions: []client.Partition{{ID: 0, Leader: 2, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}}},
	}
}

// TestClusterStatusTable: the worst partition is first, a broker that is not listed is down, and
// the exit status shows the state.
func TestClusterStatusTable(t *testing.T) {
	a, out := testApp("table")
	topics := append(sickTopics(), client.Topic{Name: "unclean", Partitions: []client.Partition{
		{ID: 0, Leader: 2, LeaderEpoch: 7, UncleanEpoch: 7, Replicas: []int32{1, 2}, ISR: []int32{1, 2}},
	}})
	s := newClusterStatus(threeBrokers, topics, map[string]int{"lacks": 2, "off": 1, "well": 1, "unclean": 1}, []client.Reassignment{{}})
	s.Features = map[string]int16{"varve.version": 1, "group.version": 2}
	if err := a.printClusterStatus(s, false); err != nil {
		t.Fatal(err)
	}
	want := `
cluster c  controller 1  group.version 2  varve.version 1  unhealthy

BROKER  STATE  RACK  ADDRESS  REPLICAS  LEADERS  PREFERRED
1       alive  a     h1:9092  3         1        3
2       alive  b     h2:9092  3         2        0
3       down   -     -        2         0        1
4       down   -     h4:9092  0         0        0

PARTITIONS  UNDER-REPLICATED  BELOW MIN ISR  OFFLINE  UNCLEAN  REASSIGNING
4           2                 1              1        1        1

PARTITION  STATE             LEADER  REPLICAS  ISR  MISSING  MIN ISR  WAITS FOR
off:0      offline           -       3         3    3        1        3
unclean:0  unclean           2       1,2       1,2  -        1        -
lacks:0    under-replicated  1       1,2,3     1,2  3        2        -
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	err := s.err()
	if exitStatus(err) != 3 || err.Error() != "unhealthy: 1 partition without a leader, 1 partition with a leader that was elected uncleanly" {
		t.Errorf("status %d, %v", exitStatus(err), err)
	}
}

func TestClusterStates(t *testing.T) {
	topics, minISR := sickTopics(), map[string]int{"lacks": 3}
	for _, c := range []struct {
		topics []client.Topic
		minISR map[string]int
		state  string
		status int
	}{
		{nil, nil, "healthy", 0},
		{topics[2:], nil, "healthy", 0},
		{topics[:1], nil, "degraded", 0},
		{topics[:1], minISR, "unhealthy", 3},
		{topics[1:], nil, "unhealthy", 3},
	} {
		s := newClusterStatus(threeBrokers, c.topics, c.minISR, nil)
		if s.State != c.state || exitStatus(s.err()) != c.status {
			t.Errorf("%v: %s, status %d; want %s, %d", c.topics, s.State, exitStatus(s.err()), c.state, c.status)
		}
	}
	if exitStatus(errors.New("x")) != 1 || exitStatus(fmt.Errorf("x: %w", &statusError{status: 3})) != 3 {
		t.Error("other errors are 1, wrapped ones keep their status")
	}
}

// TestClusterStatusIsBounded: of thousands of problems some are listed and the others counted.
func TestClusterStatusIsBounded(t *testing.T) {
	topic := client.Topic{Name: "t"}
	for i := range int32(50) {
		topic.Partitions = append(topic.Partitions, client.Partition{ID: i, Leader: 1, Replicas: []int32{1, 2}, ISR: []int32{1}})
	}
	s := newClusterStatus(threeBrokers, []client.Topic{topic}, nil, nil)
	for all, want := range map[bool]int{false: 20, true: 50} {
		a, out := testApp("table")
		if err := a.printClusterStatus(s, all); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "t:"); got != want || strings.Contains(out.String(), "and 30 more") == all {
			t.Errorf("all %t: %d are listed, want %d: %s", all, got, want, out)
		}
	}
}

// TestClusterStatusJSON: the JSON names are a contract with scripts.
func TestClusterStatusJSON(t *testing.T) {
	a, out := testApp("json")
	if err := a.printClusterStatus(newClusterStatus(threeBrokers, sickTopics(), nil, nil), false); err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	partitions, brokers, problems := s["partitions"].(map[string]any), s["brokers"].([]any), s["problems"].([]any)
	if s["state"] != "unhealthy" || s["cluster_id"] != "c" || s["controller"] != 1. || s["problems_omitted"] != 0. || len(brokers) != 4 || len(problems) != 2 {
		t.Errorf("got %v", s)
	}
	for name, want := range map[string]float64{"total": 3, "under_replicated": 2, "below_min_isr": 1, "offline": 1, "reassigning": 0} {
		if partitions[name] != want {
			t.Errorf("%s is %v, want %v", name, partitions[name], want)
		}
	}
	for name, want := range map[string]any{"id": 1., "state": "alive", "rack": "a", "address": "h1:9092", "replicas": 2., "leaders": 1., "preferred_leaders": 2.} {
		if got := brokers[0].(map[string]any)[name]; got != want {
			t.Errorf("broker's %s is %v, want %v", name, got, want)
		}
	}
	for name, want := range map[string]any{"topic": "off", "partition": 0., "state": "offline", "leader": -1., "min_isr": 0.} {
		if got := problems[0].(map[string]any)[name]; got != want {
			t.Errorf("problem's %s is %v, want %v", name, got, want)
		}
	}
}

// TestClusterStatusNamesDamage: a remote tier that cannot be read, or has failed for a while,
// degrades the cluster. One that only costs money does not. A problem that has just begun may be
// temporary.
func TestClusterStatusNamesDamage(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	at := func(kind string, age time.Duration) client.TierProblem {
		return client.TierProblem{Topic: "well", Broker: 2, Kind: kind, Object: "x/1", Count: 1, Since: now.Add(-age).UnixMilli(), Text: "gone"}
	}
	for _, c := range []struct {
		problem client.TierProblem
		state   string
		shown   int
	}{
		{at("damage", 0), "degraded", 1},
		{at("upload", time.Second), "healthy", 0},
		{at("upload", time.Hour), "degraded", 1},
		{at("attach", time.Hour), "degraded", 1},
		{at("undeletable", time.Hour), "healthy", 1},
		{at("orphans", time.Hour), "healthy", 1},
		{at("suspect", time.Hour), "degraded", 1},
	} {
		s := newClusterStatus(threeBrokers, sickTopics()[2:], nil, nil)
		s.addTier(lasting([]client.TierProblem{c.problem}, now))
		if s.State != c.state || len(s.Tier) != c.shown || s.err() != nil {
			t.Errorf("%s: %s, %d shown, %v", c.problem.Kind, s.State, len(s.Tier), s.err())
		}
	}
	s := newClusterStatus(threeBrokers, sickTopics(), nil, nil)
	s.addTier([]client.TierProblem{at("damage", time.Hour)})
	a, out := testApp("table")
	if err := a.printClusterStatus(s, false); err != nil {
		t.Fatal(err)
	}
	want := `
PARTITION  BROKER  REMOTE TIER  SINCE                     OBJECT  WHY
well:0     2       damage       2023-11-14T21:13:20.000Z  x/1     gone
`
	if got := out.String(); s.State != "unhealthy" || !strings.HasSuffix(got, want) {
		t.Errorf("%s, got %s", s.State, got)
	}
}
