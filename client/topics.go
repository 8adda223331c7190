package client

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// NewTopic is a topic to be created; -1 partitions or replicas mean the broker's default.
type NewTopic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Configs           map[string]string
}

// Topic is a topic as the cluster describes it.
type Topic struct {
	Name       string
	ID         string // in Kafka's form: base64url
	Internal   bool
	Partitions []Partition // sorted by number
}

// NoLeader is the Leader of a partition that has none.
const NoLeader int32 = -1

// Partition is the placement of a partition; Leader is NoLeader if it has none.
type Partition struct {
	ID          int32
	Leader      int32
	LeaderEpoch int32
	Replicas    []int32
	ISR         []int32
	Offline     []int32

	// Client.Elections fills in these.
	// Awaited are the brokers that a partition without a leader waits for: they may have all
	// records.
	Awaited []int32
	// UncleanEpoch is the leader epoch of the newest unclean election, 0 if there was none.
	UncleanEpoch int32
}

// CreateTopic creates a topic and returns its number of partitions.
func (c *Client) CreateTopic(ctx context.Context, t NewTopic) (partitions int32, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	configs := make(map[string]*string, len(t.Configs))
	for key, value := range t.Configs {
		configs[key] = &value
	}
	responses, err := c.admin.CreateTopics(ctx, t.Partitions, t.ReplicationFactor, configs, t.Name)
	if err != nil {
		return 0, c.Explain(err)
	}
	r := responses[t.Name]
	if err = c.about("topic "+t.Name, r.ErrMessage, r.Err); err != nil {
		return 0, err
	}
	return r.NumPartitions, nil
}

// DeleteTopics deletes topics. The error joins one error for each that could not be deleted.
func (c *Client) DeleteTopics(ctx context.Context, names ...string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	responses, err := c.admin.DeleteTopics(ctx, names...)
	if err != nil {
		return c.Explain(err)
	}
	var failed []error
	for _, r := range responses.Sorted() {
		failed = append(failed, c.about("topic "+r.Topic, r.ErrMessage, r.Err))
	}
	return errors.Join(failed...)
}

// Topics describes the named topics, or all if none is named, by name.
func (c *Client) Topics(ctx context.Context, names ...string) ([]Topic, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	meta, err := c.admin.Metadata(ctx, names...)
	if err != nil {
		return nil, c.Explain(err)
	}
	var topics []Topic
	var failed []error
	for _, d := range meta.Topics.Sorted() {
		if d.Err != nil {
			failed = append(failed, c.about("topic "+d.Topic, "", d.Err))
			continue
		}
		topics = append(topics, topicOf(d))
	}
	return topics, errors.Join(failed...)
}

func topicOf(d kadm.TopicDetail) Topic {
	t := Topic{Name: d.Topic, ID: base64.RawURLEncoding.EncodeToString(d.ID[:]), Internal: d.IsInternal}
	for _, p := range d.Partitions.Sorted() {
		t.Partitions = append(t.Partitions, Partition{
			ID: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
			Replicas: slices.Clone(p.Replicas), ISR: slices.Clone(p.ISR), Offline: slices.Clone(p.OfflineReplicas),
		})
	}
	return t
}
