package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// One of a broker's two log directories cannot be used at a start. Its partitions must have no
// leader, the others must work, no log may be created again in the other directory, and all
// partitions must be back with the directory.
func TestOneOfTwoLogDirsIsOffline(t *testing.T) {
	sideBySide(t)
	dir := t.TempDir()
	dirs := []string{filepath.Join(dir, "disk-a"), filepath.Join(dir, "disk-b")}
	broker := startBroker(t, "--set", "log.dirs="+strings.Join(dirs, ","))
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "t", 4)
	// Without retries, so that errors are visible. Each start of the broker gets a client of its
	// own, which has no connections to the previous process.
	connect := func() *kgo.Client {
		return newClient(t, broker.bootstrap, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
	}
	client := connect()
	produce := func(topic string, partition int32) error {
		return client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte("v")}).FirstErr()
	}
	onB := map[int32]bool{}
	for p := range int32(4) {
		if err := produce("t", p); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(dirs[1], fmt.Sprintf("t-%d", p)))
		onB[p] = err == nil
	}
	if n := partitionDirs(t, dirs[0]) + partitionDirs(t, dirs[1]); n != 4 || partitionDirs(t, dirs[0]) != 2 {
		t.Fatalf("%d partitions in all, %d of them on the first disk", n, partitionDirs(t, dirs[0]))
	}

	broker.stop(t, syscall.SIGTERM)
	giveBack := takeAway(t, dirs[1])
	broker.start(t)
	client = connect()
	if !strings.Contains(broker.log.String(), "data directory is offline") {
		t.Error("the log does not say so")
	}
	for p := range int32(4) {
		topics, err := admin.ListTopics(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		want := error(nil)
		if onB[p] {
			want = kerr.LeaderNotAvailable
		}
		if d := topics["t"].Partitions[p]; !errors.Is(d.Err, want) || (d.Leader < 0) != onB[p] {
			t.Errorf("t-%d: leader %d, %v, want %v", p, d.Leader, d.Err, want)
		}
		if err = produce("t", p); (err == nil) == onB[p] {
			t.Errorf("t-%d: produce: %v", p, err)
		}
		if !onB[p] {
			if err = fetchOnce(t, broker.bootstrap, p); err != nil {
				t.Errorf("t-%d: fetch: %v", p, err)
			}
		}
	}
	createTopic(t, admin, "fresh", 2)
	for p := range int32(2) {
		if err := produce("fresh", p); err != nil {
			t.Errorf("a new topic: %v", err)
		}
	}
	described, err := admin.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := described[1]; d[dirs[0]].Err != nil || !errors.Is(d[dirs[1]].Err, kerr.KafkaStorageError) {
		t.Errorf("the directories are described as %+v", d)
	}
	if !strings.Contains(metrics(t, broker), "\nkafka_log_logmanager_offlinelogdirectorycount 1\n") {
		t.Error("the metric does not say that one directory is offline")
	}

	broker.stop(t, syscall.SIGTERM) // a clean one
	giveBack()
	broker.start(t)
	listed, err := admin.ListEndOffsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	listed.Each(func(o kadm.ListedOffset) {
		want := int64(2)
		if onB[o.Partition] {
			want = 1
		}
		if o.Err != nil || o.Offset != want {
			t.Errorf("t-%d ends at %d, want %d, %v", o.Partition, o.Offset, want, o.Err)
		}
	})
}

// takeAway replaces a directory by a file. giveBack restores the directory.
func takeAway(t *testing.T, dir string) (giveBack func()) {
	t.Helper()
	away := dir + ".away"
	if err := errors.Join(os.Rename(dir, away), os.WriteFile(dir, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// fetchOnce returns the first error of a fetch of a partition of topic t, or nil if it returns a
// record.
func fetchOnce(t *testing.T, bootstrap string, partition int32) error {
	t.Helper()
	client := newClient(t, bootstrap, kgo.KeepRetryableFetchErrors(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {partition: kgo.NewOffset().At(0)}}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if e.Partition == partition || e.Topic == "" {
				return e.Err
			}
		}
		if fetches.NumRecords() > 0 {
			return nil
		}
	}
}

func partitionDirs(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "t-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

var httpAddress = regexp.MustCompile(`ready: kafka \S+, http (\S+),`)

// metrics returns /metrics of the broker's latest process.
func metrics(t *testing.T, p *process) string {
	t.Helper()
	body, err := readMetrics(p, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

var errNoAddress = errors.New("the broker has told no address")

// readMetrics is metrics for a broker that may be down.
func readMetrics(p *process, within time.Duration) (string, error) {
	matches := httpAddress.FindAllStringSubmatch(p.log.String(), -1)
	if len(matches) == 0 {
		return "", errNoAddress
	}
	client := http.Client{Timeout: within}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + matches[len(matches)-1][1] + "/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
