package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newClient(t *testing.T, bootstrap string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.RetryTimeout(time.Minute), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseAllowingRebalance)
	return client
}

func newAdmin(t *testing.T, bootstrap string) *kadm.Client {
	t.Helper()
	return kadm.NewClient(newClient(t, bootstrap))
}

// createTopic creates a topic. configs are pairs of key and value.
func createTopic(t *testing.T, admin *kadm.Client, topic string, partitions int32, configs ...string) {
	t.Helper()
	values := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = &configs[i+1]
	}
	if _, err := admin.CreateTopic(t.Context(), partitions, -1, values, topic); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

// consume reads from the client until n records have arrived, and passes each to fn.
func consume(t *testing.T, client *kgo.Client, n int, within time.Duration, fn func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	got := 0
	for got < n {
		fetches := client.PollRecords(ctx, n-got)
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.DeadlineExceeded) {
				t.Fatalf("%d of %d records within %v", got, n, within)
			}
			t.Fatalf("fetch %s-%d: %v", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(fn)
		got += fetches.NumRecords()
	}
}
