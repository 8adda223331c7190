package integration

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFrozenLeader freezes the leader of a partition until it is fenced, with requests in flight
// that it receives when it resumes. No record that it then accepts may survive, and none with
// acks=all may be acknowledged. It must get in sync again, and in the end all replicas must have
// the same bytes.
func TestFrozenLeader(t *testing.T) {
	sideBySide(t)
	rounds := 2
	if long() {
		rounds = 10
	}
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, "", everywhere...))
	if _, err := admin.CreateTopic(t.Context(), 1, 3, map[string]*string{"min.insync.replicas": new("2"), "remote.storage.enable": new("false")}, "frozen"); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, "frozen", 1, 2, 1, 200, 150, everywhere...)
	l.progress(time.Minute, "at the start")
	taken := 0
	for round := range rounds {
		taken += freezeLeader(t, l, admin, brokers, 1000+2*round, everywhere)
	}
	l.stop()
	if taken == 0 {
		t.Error("no frozen leader has taken anything when it was thawed: the test has tested nothing")
	}
	t.Logf("%d records were acknowledged by leaders that were none any more", taken)
	// The stale records are not in the history, so none of them may be in the log.
	l.check(everywhere...)

	together(brokers, func(p *process) { p.stop(t, syscall.SIGTERM) })
	want := logBytes(t, brokers[0].dataDir, "frozen-0")
	if len(want) == 0 {
		t.Error("broker 1 has no log")
	}
	for i, p := range brokers[1:] {
		if got := logBytes(t, p.dataDir, "frozen-0"); !bytes.Equal(got, want) {
			t.Errorf("the logs of brokers 1 and %d have %d and %d bytes and part at %d", i+2, len(want), len(got), parting(want, got))
		}
	}
	for _, p := range brokers {
		// The dump checks every batch.
		p.varve(t, "", append([]string{"log", "dump"}, segments(t, p.dataDir, "frozen-0")...)...)
	}
}

// freezeLeader does that once, with stale records of the producers id and id+1. It returns how many
// of them the old leader has acknowledged.
func freezeLeader(t *testing.T, l *load, admin *kadm.Client, brokers []*process, id int, everywhere []kgo.Opt) (taken int) {
	t.Helper()
	leader := leaderOf(t, admin, "frozen")
	old := brokers[leader-1]
	// The requests of these clients wait for the leader that they know, however long that takes.
	patient := func(acks kgo.Acks) *kgo.Client {
		return newClient(t, "", append(slices.Clone(everywhere), kgo.DefaultProduceTopic("frozen"), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(),
			kgo.RecordRetries(0), kgo.MetadataMaxAge(time.Hour), kgo.RequestTimeoutOverhead(time.Minute), kgo.ProduceRequestTimeout(time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	}
	some, all := patient(kgo.LeaderAck()), patient(kgo.AllISRAcks())
	for _, c := range []*kgo.Client{some, all} {
		c.ForceMetadataRefresh()
		if _, err := kadm.NewClient(c).ListTopics(t.Context(), "frozen"); err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// One record on each connection, which is open afterward. It is in the history.
	for i, c := range []*kgo.Client{some, all} {
		call, record := l.history.now(), recordID{id + i, 0}
		r, err := c.ProduceSync(t.Context(), &kgo.Record{Value: record.encode(l.value)}).First()
		if i == 0 {
			// With acks=1 the record may be lost, so the history must not require it.
			err = context.Canceled
		}
		l.history.append(0, record, call, r.Offset, err)
	}
	signal(t, old, syscall.SIGSTOP)
	var answered sync.WaitGroup
	var acknowledged, wrongly atomic.Int64
	for n := range 50 {
		for i, c := range []*kgo.Client{some, all} {
			answered.Add(1)
			c.Produce(t.Context(), &kgo.Record{Value: recordID{id + i, 1 + n}.encode(l.value)}, func(_ *kgo.Record, err error) {
				defer answered.Done()
				switch {
				case err == nil && c == some:
					acknowledged.Add(1)
				case err == nil:
					wrongly.Add(1)
				}
			})
		}
	}
	eventually(t, time.Minute, "another broker leads", func() bool { return leaderOf(t, admin, "frozen") != leader })
	l.progress(time.Minute, "under the new leader")
	signal(t, old, syscall.SIGCONT)
	answered.Wait()
	if n := wrongly.Load(); n > 0 {
		t.Errorf("a leader that is none any more has acknowledged %d records with acks=all", n)
	}
	allInSync(t, admin, "frozen", 3)
	return int(acknowledged.Load())
}

// leaderOf returns the leader of partition 0 of a topic.
func leaderOf(t *testing.T, admin *kadm.Client, topic string) int32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	topics, err := admin.ListTopics(ctx, topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	return topics[topic].Partitions[0].Leader
}

// segments returns the .log files of a partition, in order.
func segments(t *testing.T, dataDir, partition string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dataDir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Ext(name) == ".log" && filepath.Base(filepath.Dir(name)) == partition {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// logBytes returns the batches of a partition from the start of its log.
func logBytes(t *testing.T, dataDir, partition string) (all []byte) {
	t.Helper()
	files := segments(t, dataDir, partition)
	for i, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if base, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64); i == 0 && base != 0 {
			t.Errorf("%s: the log does not begin at 0", name)
		}
		all = append(all, content...)
	}
	return all
}

// parting is the position at which two logs start to differ.
func parting(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
