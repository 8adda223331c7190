package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
)

// CreateTopics creates topics, each independently. Versions 2-7. The response is sent when this
// broker can serve the topics or the request's time is up (REQUEST_TIMED_OUT: the topic exists or
// soon will).
//
//   - v4 (KIP-464): -1 partitions or replicas mean the broker's defaults; accepted in every
//     version, as in Kafka.
//   - v5 (KIP-525): the response has the number of partitions and replicas and the effective
//     settings.
//   - v7 (KIP-516): the response has the topic's id.
//
// Not implemented: creation policies, authorization, quotas (v6, KIP-599).
func (b *Broker) createTopics(ctx context.Context, _ *Request, req *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()

	count := make(map[string]int, len(req.Topics))
	for _, t := range req.Topics {
		count[t.Topic]++
	}
	layers := b.layers()
	specs := make([]metadata.TopicSpec, 0, len(req.Topics))
	at := make(map[string]int, len(req.Topics)) // name → index in resp.Topics
	for _, t := range req.Topics {
		if _, answered := at[t.Topic]; answered {
			continue // a duplicate is answered once
		}
		at[t.Topic] = len(resp.Topics)
		answer := kmsg.NewCreateTopicsResponseTopic()
		answer.Topic, answer.NumPartitions, answer.ReplicationFactor = t.Topic, -1, -1
		spec, err := b.topicSpec(layers, t)
		if count[t.Topic] > 1 {
			err = fmt.Errorf("duplicate topic name: %w", errInvalidRequest)
		}
		if err != nil {
			answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, err)
		} else {
			specs = append(specs, spec)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	for i, result := range b.create(ctx, specs, req.ValidateOnly) {
		answer := &resp.Topics[at[result.Name]]
		if result.Err != nil {
			answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, result.Err)
			continue
		}
		answer.TopicID = result.ID
		answer.NumPartitions, answer.ReplicationFactor = result.Partitions, result.ReplicationFactor
		answer.Configs = createdConfigs(layers, specs[i].Configs)
	}
	return resp
}

// topicSpec checks one topic of the request and fills in the defaults.
func (b *Broker) topicSpec(layers config.Layers, t kmsg.CreateTopicsRequestTopic) (metadata.TopicSpec, error) {
	spec := metadata.TopicSpec{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	if err := metadata.ValidateTopicName(t.Topic); err != nil {
		return spec, err
	}
	var err error
	if spec.Configs, err = topicOverrides(layers, t); err != nil {
		return spec, err
	}
	if len(t.ReplicaAssignment) > 0 {
		return spec, assignTopic(&spec, t)
	}
	switch {
	case spec.Partitions == -1:
		spec.Partitions = layers.Broker().Int32("num.partitions")
	case spec.Partitions < 1:
		return spec, fmt.Errorf("number of partitions was set to an invalid non-positive value: %w", metadata.ErrInvalidPartitions)
	}
	switch {
	case spec.ReplicationFactor == -1:
		spec.ReplicationFactor = b.replicationFactor(layers, "default.replication.factor")
	case spec.ReplicationFactor < 1:
		return spec, fmt.Errorf("replication factor was set to an invalid non-positive value: %w", metadata.ErrInvalidReplicationFactor)
	}
	return spec, nil
}

// assignTopic takes over a manual assignment.
func assignTopic(spec *metadata.TopicSpec, t kmsg.CreateTopicsRequestTopic) error {
	if t.ReplicationFactor != -1 {
		return fmt.Errorf("a manual partition assignment was specified, but replication factor was not set to -1: %w", errInvalidRequest)
	}
	if t.NumPartitions != -1 {
		return fmt.Errorf("a manual partition assignment was specified, but numPartitions was not set to -1: %w", errInvalidRequest)
	}
	spec.Assignments = make(map[int32][]int32, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if _, twice := spec.Assignments[a.Partition]; twice {
			return fmt.Errorf("found multiple manual partition assignments for partition %d: %w", a.Partition, metadata.ErrInvalidReplicaAssignment)
		}
		spec.Assignments[a.Partition] = a.Replicas
	}
	return nil
}

// topicOverrides checks all settings of a new topic, so that one answer names every problem.
func topicOverrides(layers config.Layers, t kmsg.CreateTopicsRequestTopic) (map[string]string, error) {
	overrides := make(map[string]string, len(t.Configs))
	for _, c := range t.Configs {
		if c.Value == nil {
			return nil, fmt.Errorf("null value not supported for topic configs: %s: %w", c.Name, errInvalidConfig)
		}
		overrides[c.Name] = *c.Value
	}
	if err := layers.ValidateTopic(overrides); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalidConfig, err)
	}
	return overrides, nil
}

// createdConfigs returns a new topic's effective settings.
func createdConfigs(layers config.Layers, overrides map[string]string) []kmsg.CreateTopicsResponseTopicConfig {
	entries := layers.DescribeTopic(overrides)
	configs := make([]kmsg.CreateTopicsResponseTopicConfig, len(entries))
	for i, e := range entries {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.ReadOnly, c.Source, c.IsSensitive = e.Name, e.Value, e.ReadOnly, int8(e.Source), e.Sensitive
		configs[i] = c
	}
	return configs
}
