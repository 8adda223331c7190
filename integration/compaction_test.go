package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A compacted topic must end up with one value per key, plus its active segment. Consumers must
// read exactly that, also after a crash.
func TestCompactedTopic(t *testing.T) {
	const keys, rounds = 50, 80
	broker := startBroker(t, "--set", "log.cleaner.backoff.ms=100", "--set", "log.flush.offset.checkpoint.interval.ms=200")
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "table", 1, "cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01",
		"delete.retention.ms", "0", "file.delete.delay.ms", "0")
	client := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("table"), kgo.ProducerBatchMaxBytes(64<<10))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("no key")).FirstErr(); err == nil {
		t.Error("a record without a key was accepted")
	}
	want := map[string]string{}
	random := rand.NewChaCha8([32]byte{1}) // its bytes do not compress, so segments fill up
	for round := range rounds {
		var batch []*kgo.Record
		for key := range keys {
			value := make([]byte, 1000)
			_, _ = random.Read(value) // never fails
			r := kgo.KeyStringRecord(fmt.Sprintf("key %d", key), string(value))
			want[string(r.Key)] = string(r.Value)
			if round == rounds/2 && key%10 == 0 { // deleted here, written again later
				r.Value = nil
			}
			if round > rounds/2 && key == 7 { // deleted for good
				r.Value = nil
				delete(want, string(r.Key))
			}
			batch = append(batch, r)
		}
		if err := client.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := int64(keys * rounds)
	dir := filepath.Join(broker.dataDir, "logs", "table-0")
	eventually(t, time.Minute, "only the last value of each key is left", func() bool {
		active := activeBase(t, dir)
		seen, clean := map[string]bool{}, true
		for _, r := range readTo(t, broker.bootstrap, "table", end) {
			clean = clean && (r.Offset >= active || !seen[string(r.Key)])
			seen[string(r.Key)] = true
		}
		return clean && active > 0
	})
	check := func() {
		t.Helper()
		got := map[string]string{}
		for _, r := range readTo(t, broker.bootstrap, "table", end) {
			if got[string(r.Key)] = string(r.Value); r.Value == nil {
				delete(got, string(r.Key))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("consumers get %d keys, want %d, or other values", len(got), len(want))
		}
	}
	check()
	for _, file := range logFiles(t, dir) {
		if dumped := broker.varve(t, "", "log", "dump", file); !strings.Contains(strings.ToLower(dumped), "baseoffset") {
			t.Errorf("log dump %s says %.200q", file, dumped)
		}
	}
	broker.kill9(t)
	broker.start(t)
	check()
}

// readTo reads a partition from its start up to the record before the offset end.
func readTo(t *testing.T, bootstrap, topic string, end int64) []*kgo.Record {
	t.Helper()
	client := newClient(t, bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []*kgo.Record
	for len(all) == 0 || all[len(all)-1].Offset < end-1 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records: %v", len(all), err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func logFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// activeBase is the base offset of the newest segment.
func activeBase(t *testing.T, dir string) int64 {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	newest := int64(-1)
	for _, file := range logFiles(t, dir) {
		base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".log"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		newest = max(newest, base)
	}
	return newest
}
