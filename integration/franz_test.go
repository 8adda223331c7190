package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Three members share a group's partitions, and take over those of a member that leaves. Afterward
// the group must continue from its committed offsets.
func TestFranzGroups(t *testing.T) {
	const records, partitions = 6000, 6
	broker := startBroker(t)
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "shared", partitions)
	producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("shared"))
	produce := func(from, to int) {
		var batch []*kgo.Record
		for i := from; i < to; i++ {
			batch = append(batch, kgo.KeyStringRecord(fmt.Sprint(i), fmt.Sprintf("value %d", i)))
		}
		if err := producer.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce(0, records)

	var mu sync.Mutex
	seen := map[string]int{}
	member := func() *kgo.Client {
		client := newClient(t, broker.bootstrap, kgo.ConsumerGroup("sharers"), kgo.ConsumeTopics("shared"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitMarks(),
			kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(200*time.Millisecond),
			// The defaults would make the test wait for five seconds each.
			kgo.FetchMaxWait(200*time.Millisecond), kgo.AutoCommitInterval(200*time.Millisecond))
		go func() {
			for {
				fetches := client.PollFetches(context.Background()) // until the client is closed
				if fetches.IsClientClosed() {
					return
				}
				fetches.EachRecord(func(r *kgo.Record) {
					mu.Lock()
					seen[string(r.Key)]++
					mu.Unlock()
					client.MarkCommitRecords(r)
				})
			}
		}()
		return client
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	first := member()
	member()
	member()
	eventually(t, time.Minute, "three members share six partitions", func() bool {
		groups, err := admin.DescribeGroups(t.Context(), "sharers")
		return err == nil && groups["sharers"].State == "Stable" && len(groups["sharers"].Members) == 3
	})
	eventually(t, time.Minute, "all records are read", func() bool { return count() == records })

	first.Close()
	produce(records, 2*records)
	eventually(t, time.Minute, "the other two read on", func() bool { return count() == 2*records })
	eventually(t, time.Minute, "everything is committed", func() bool {
		lag, err := admin.Lag(t.Context(), "sharers")
		sharers := lag["sharers"]
		return err == nil && sharers.Error() == nil && sharers.Lag.Total() == 0
	})

	broker.kill9(t)
	broker.start(t)
	offsets, err := admin.FetchOffsets(t.Context(), "sharers")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { total += o.At })
	if total != 2*records {
		t.Errorf("after kill -9 the group's offsets add up to %d, want %d", total, 2*records)
	}
}

func TestFranzAdmin(t *testing.T) {
	broker := startBroker(t)
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "a", 2, "retention.ms", "60000")
	if _, err := admin.CreateTopic(t.Context(), 1, -1, nil, "a"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("create again: %v", err)
	}
	if _, err := admin.CreateTopic(t.Context(), 1, 2, nil, "b"); !errors.Is(err, kerr.InvalidReplicationFactor) {
		t.Errorf("two replicas on one broker: %v", err)
	}
	if resp, err := admin.CreatePartitions(t.Context(), 3, "a"); err != nil || resp.Error() != nil {
		t.Errorf("create partitions: %v, %v", err, resp.Error())
	}
	topics, err := admin.ListTopics(t.Context(), "a")
	if err != nil || len(topics["a"].Partitions) != 5 {
		t.Errorf("list topics: %v, %d partitions", err, len(topics["a"].Partitions))
	}
	value := func() string {
		t.Helper()
		configs, describeErr := admin.DescribeTopicConfigs(t.Context(), "a")
		if describeErr != nil {
			t.Fatal(describeErr)
		}
		for _, c := range configs[0].Configs {
			if c.Key == "retention.ms" {
				return c.MaybeValue()
			}
		}
		return ""
	}
	if got := value(); got != "60000" {
		t.Errorf("retention.ms is %q", got)
	}
	if _, err = admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "retention.ms"}}, "a"); err != nil {
		t.Fatal(err)
	}
	if got := value(); got != "604800000" {
		t.Errorf("after deletion retention.ms is %q", got)
	}
	if deleted, deleteErr := admin.DeleteTopics(t.Context(), "a"); deleteErr != nil || deleted.Error() != nil {
		t.Errorf("delete: %v, %v", deleteErr, deleted.Error())
	}
	if deleted, deleteErr := admin.DeleteTopics(t.Context(), "a"); deleteErr != nil || !errors.Is(deleted.Error(), kerr.UnknownTopicOrPartition) {
		t.Errorf("delete again: %v, %v", deleteErr, deleted.Error())
	}
}

// Transactions are not supported: they must be rejected with an error, not left without an answer.
func TestFranzTransactionsAreRefused(t *testing.T) {
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "a", 1)
	client := newClient(t, broker.bootstrap, kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("a"), kgo.RetryTimeout(2*time.Second), kgo.RecordRetries(1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.BeginTransaction(); err != nil {
		return
	}
	if err := client.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a transactional record: %v, want an error from the broker", err)
	}
}
