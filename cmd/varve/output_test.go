package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/client"
)

func testApp(output string) (*app, *bytes.Buffer) {
	var out bytes.Buffer
	return &app{streams: streams{out: &out, errOut: &bytes.Buffer{}}, output: output}, &out
}

var tierPartitions = []client.TierPartition{
	{
		Topic: "layers", Tiered: true, LogStart: 0, LocalStart: 900, RemoteEnd: 950, End: 1000,
		LocalBytes: 1 << 20, RemoteBytes: 95 << 20, RemoteSegments: 95, PendingSegments: 3, PendingBytes: 0, LastUpload: 1_700_000_000_000, State: "active",
	},
	{
		Topic: "foreign", Partition: 1, Tiered: false, LogStart: 5, LocalStart: client.Unknown, RemoteEnd: client.Unknown, End: 10,
		LocalBytes: 10, RemoteBytes: client.Unknown, RemoteSegments: client.Unknown, PendingSegments: client.Unknown, PendingBytes: client.Unknown, LastUpload: client.Unknown,
	},
}

func TestTierTable(t *testing.T) {
	a, out := testApp("table")
	if err := a.printTierStatus(tierPartitions); err != nil {
		t.Fatal(err)
	}
	want := `
TOPIC    PARTITION  LOCAL     REMOTE  LOCAL BYTES  REMOTE BYTES  SEGMENTS  LAG RECORDS  LAG SEGMENTS  LAG BYTES  LAST UPLOAD               STATE
layers   0          900..999  0..949  1.0 MiB      95.0 MiB      95        50           3             0 B        2023-11-14T22:13:20.000Z  active
foreign  1          -         off     10 B         -             -         -            -             -          -                         -
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestTierJSON: the JSON names are a contract with other tools.
func TestTierJSON(t *testing.T) {
	a, out := testApp("json")
	if err := a.printTierStatus(tierPartitions); err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"topic": "layers", "partition": 0., "tiered": true, "log_start": 0., "local_start": 900., "remote_end": 950., "end": 1000.,
		"local_bytes": 1048576., "remote_bytes": 99614720., "remote_segments": 95., "lag_records": 50., "lag_segments": 3., "lag_bytes": 0., "last_upload_ms": 1.7e12,
		"state": "active",
	} {
		if rows[0][name] != want {
			t.Errorf("%s is %v, want %v", name, rows[0][name], want)
		}
	}
	for _, name := range []string{"local_start", "remote_end", "remote_bytes", "lag_records", "last_upload_ms", "state"} {
		if value, there := rows[1][name]; !there || value != nil {
			t.Errorf("unknown %s is %v, want null", name, value)
		}
	}
}

// TestTierProblemsAreNamed: a tier's problems are below the table, and with their partition in
// JSON.
func TestTierProblemsAreNamed(t *testing.T) {
	sick := tierPartitions[0]
	sick.Problems = []client.TierProblem{
		{Topic: "layers", Broker: 2, Kind: "damage", Object: "x/1.segment", Count: 1, Since: 1_700_000_000_000, Text: "object not found"},
		{Topic: "layers", Broker: 1, Kind: "undeletable", Object: "x/0.segment", Count: 3, Since: 1_700_000_000_000, Text: "denied"},
	}
	a, out := testApp("table")
	if err := a.printTierStatus([]client.TierPartition{sick}); err != nil {
		t.Fatal(err)
	}
	_, below, _ := strings.Cut(out.String(), "\n\n")
	want := `
PARTITION  BROKER  REMOTE TIER  SINCE                     OBJECT                  WHY
layers:0   2       damage       2023-11-14T22:13:20.000Z  x/1.segment             object not found
layers:0   1       undeletable  2023-11-14T22:13:20.000Z  x/0.segment and 2 more  denied
`
	if got := "\n" + below; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	a, out = testApp("json")
	if err := a.printTierStatus([]client.TierPartition{sick, tierPartitions[1]}); err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Problems []map[string]any `json:"problems"`
	}
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows[0].Problems) != 2 || rows[0].Problems[0]["object"] != "x/1.segment" || rows[0].Problems[1]["count"] != 3. || rows[1].Problems == nil {
		t.Errorf("got %+v", rows)
	}
}

func TestListsThatAreEmptyAreJSONArrays(t *testing.T) {
	for name, print := range map[string]func(*app) error{
		"tier":   func(a *app) error { return a.printTierStatus(nil) },
		"topics": func(a *app) error { return a.printTopics(nil, false) },
		"groups": func(a *app) error { return a.printGroups(nil) },
		"group":  func(a *app) error { return a.printGroupDescriptions(nil) },
		"config": func(a *app) error { return a.printConfigs(nil, true) },
	} {
		a, out := testApp("json")
		if err := print(a); err != nil || strings.TrimSpace(out.String()) != "[]" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

func TestGroupTable(t *testing.T) {
	busy := client.GroupMember{ID: "m-1", Host: "10.0.0.1"}
	a, out := testApp("table")
	err := a.printGroupDescriptions([]client.Group{{
		Name: "g", State: "Stable", Coordinator: 1, Members: []client.GroupMember{busy, {ID: "m-2", Host: "10.0.0.2"}},
		Partitions: []client.GroupPartition{
			{Topic: "t", Partition: 0, Committed: 7, End: 10, Lag: 3, Member: &busy},
			{Topic: "t", Partition: 1, Committed: client.Unknown, End: 10, Lag: 10},
		},
	}})
	want := `
g  Stable  coordinator 1  2 members
TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER  HOST
t      0          7          10   3    m-1     10.0.0.1
t      1          -          10   10   -       -
-      -          -          -    -    m-2     10.0.0.2
`
	if got := "\n" + out.String(); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestTopicTables(t *testing.T) {
	a, out := testApp("table")
	topics := []client.Topic{
		{Name: "__internal", Internal: true},
		{Name: "t", Partitions: []client.Partition{{Replicas: []int32{1, 2, 3}}, {Replicas: []int32{1, 2, 3}}}},
	}
	if err := a.printTopics(topics, false); err != nil || out.String() != "TOPIC  PARTITIONS  REPLICATION\nt      2           3\n" {
		t.Errorf("got %s, %v", out, err)
	}
	out.Reset()
	err := a.printDescriptions([]topicDescription{{
		Name: "t", ID: "abc", Configs: map[string]string{"b": "2", "a": "1"},
		Partitions: []partitionRow{{Partition: 0, Leader: 1, LeaderEpoch: 4, Replicas: []int32{1, 2}, ISR: []int32{1}, Start: 3, End: 9}},
	}})
	want := "t  id abc  a=1 b=2\nPARTITION  LEADER  EPOCH  REPLICAS  ISR  OFFSETS\n0          1       4      1,2       1    3..8\n"
	if err != nil || out.String() != want {
		t.Errorf("got %s, %v\nwant %s", out, err, want)
	}
}

func TestProgressShowsRates(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{w: &out, verb: "read", now: func() time.Time { return now }, start: now, shown: now}
	p.add(10, 1024)
	if out.Len() > 0 {
		t.Error("shown at once")
	}
	now = now.Add(2 * time.Second)
	p.add(10, 1024)
	if want := "\rread 20 records, 2.0 KiB, 10 records/s, 1.0 KiB/s\x1b[K"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	a, _ := testApp("table")
	if silent := a.newProgress("x", false); silent.w != nil {
		t.Error("a buffer is taken for a terminal")
	}
}
