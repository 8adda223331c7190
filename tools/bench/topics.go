package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicPartitions is the number of partitions of the topics that one broker serves.
const topicPartitions = 16

const topicLimit = 2 * time.Minute

// admin creates and deletes the topics of a cluster.
type admin struct {
	client *kgo.Client
	kadm   *kadm.Client
}

func newAdmin(addresses []string) (*admin, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("make an admin client: %w", err)
	}
	return &admin{client: client, kadm: kadm.NewClient(client)}, nil
}

func (a *admin) close() { a.client.Close() }

// create creates a topic and returns when every partition answers. Its replicas are those of the
// assignment, which has the leader first. Deleted files go at once, so that legs do not share the
// disk with what an earlier one wrote.
func (a *admin) create(
	ctx context.Context, topic string, partitions int, replicas []int32, configs map[string]string,
) error {
	ctx, cancel := context.WithTimeout(ctx, topicLimit)
	defer cancel()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1 // the assignment says both
	for p := range partitions {
		assignment := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		assignment.Partition, assignment.Replicas = int32(p), replicas
		t.ReplicaAssignment = append(t.ReplicaAssignment, assignment)
	}
	for name, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = name, new(value)
		t.Configs = append(t.Configs, config)
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics, request.TimeoutMillis = append(request.Topics, t), int32(topicLimit.Milliseconds())
	response, err := request.RequestWith(ctx, a.client)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	for _, created := range response.Topics {
		if err = kerr.ErrorForCode(created.ErrorCode); err != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	var last error
	err = poll(ctx, readyPoll, func() (bool, error) {
		ends, listErr := a.kadm.ListEndOffsets(ctx, topic)
		if last = errors.Join(listErr, ends.Error()); last != nil {
			return false, nil //nolint:nilerr // it is asked for again until the deadline, which reports it
		}
		return len(ends[topic]) == partitions, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the partitions of topic %s answer: %w", topic, errors.Join(err, last))
	}
	return nil
}

// benchConfigs are the settings of topics whose legs write gigabytes.
func benchConfigs() map[string]string {
	return map[string]string{"file.delete.delay.ms": "0"}
}

// failoverConfigs are the settings of a topic on several brokers.
func failoverConfigs() map[string]string {
	return map[string]string{"min.insync.replicas": strconv.Itoa(failoverMinInSync)}
}

func (a *admin) remove(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, topicLimit)
	defer cancel()
	response, err := a.kadm.DeleteTopics(ctx, topic)
	if err = errors.Join(err, response.Error()); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}
