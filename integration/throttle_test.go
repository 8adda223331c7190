package integration

import (
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestReassignmentIsThrottled moves a replica like kafka-reassign-partitions.sh --throttle: it sets
// the brokers' rates, then the throttled replicas, then starts the move. The move must take the
// time given by the rate, and finish by itself.
func TestReassignmentIsThrottled(t *testing.T) {
	sideBySide(t)
	const mib, size = 1 << 20, 8
	brokers := startCluster(t)
	client := newClient(t, brokers[0].bootstrap, append(clusterClient(brokers), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	admin := kadm.NewClient(client)
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "moved", -1, -1
	topic.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1, 2}}}
	create.Topics, create.TimeoutMillis = append(create.Topics, topic), 10_000
	// Unknown broker ids are rejected.
	eventually(t, time.Minute, "the brokers know each other", func() bool {
		resp, err := create.RequestWith(t.Context(), client)
		return err == nil && resp.Topics[0].ErrorCode == 0
	})
	value := make([]byte, mib/16)
	_, _ = rand.Read(value) // never fails
	for range size * 16 {
		client.Produce(t.Context(), &kgo.Record{Topic: "moved", Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	set := func(name, value string) kadm.AlterConfig {
		return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	}
	altered := func(r kadm.AlterConfigsResponses, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range r {
			if one.Err != nil {
				t.Fatal(one.Name, one.Err, one.ErrMessage)
			}
		}
	}
	altered(admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{
		set("leader.replication.throttled.rate", "1048576"), set("follower.replication.throttled.rate", "1048576"),
	}, 1, 2, 3))
	altered(admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
		set("leader.replication.throttled.replicas", "0:1,0:2"), set("follower.replication.throttled.replicas", "0:3"),
	}, "moved"))
	described, err := admin.DescribeBrokerConfigs(t.Context(), 3)
	if err != nil || !slices.ContainsFunc(described[0].Configs, func(c kadm.Config) bool {
		return c.Key == "follower.replication.throttled.rate" && c.MaybeValue() == "1048576"
	}) {
		t.Errorf("broker 3 does not show its rate: %v", err)
	}

	start := time.Now()
	var move kadm.AlterPartitionAssignmentsReq
	move.Assign("moved", 0, []int32{1, 3})
	moved, err := admin.AlterPartitionAssignments(t.Context(), move)
	if err == nil {
		err = moved.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the replica is moved", func() bool {
		topics, err := admin.ListTopics(t.Context(), "moved")
		return err == nil && slices.Equal(topics["moved"].Partitions[0].Replicas, []int32{1, 3}) && len(topics["moved"].Partitions[0].ISR) == 2
	})
	// The bytes of one window arrive at once, and one fetch on credit.
	if took := time.Since(start); took < (size-3)*time.Second {
		t.Errorf("%d MiB were moved in %v at 1 MiB a second", size, took)
	} else {
		t.Logf("moved in %v", took)
	}
}
