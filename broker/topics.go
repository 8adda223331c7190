package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
)

// layers returns the settings that are in force on this broker now.
func (b *Broker) layers() config.Layers {
	image := b.cluster.Image()
	return config.Layers{
		Static:         b.static,
		DynamicDefault: image.DefaultBrokerConfigs(),
		DynamicBroker:  image.BrokerConfigs(b.cfg.NodeID),
	}
}

// autoCreates reports whether a topic is created when a client asks for it.
func (b *Broker) autoCreates() bool { return b.layers().Broker().Bool("auto.create.topics.enable") }

// create creates topics and waits until this broker serves those of their partitions that it leads.
func (b *Broker) create(ctx context.Context, specs []metadata.TopicSpec, validateOnly bool) []metadata.TopicResult {
	if len(specs) == 0 {
		return nil
	}
	results := b.admin.CreateTopics(ctx, specs, validateOnly)
	if validateOnly {
		return results
	}
	b.awaitServed(ctx, results)
	return results
}

// awaitServed waits for the topics that were created or extended. If the wait fails, for example by
// a timeout, that becomes their error.
func (b *Broker) awaitServed(ctx context.Context, results []metadata.TopicResult) {
	ids := make([]metadata.TopicID, 0, len(results))
	for _, r := range results {
		if r.Err == nil {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return
	}
	err := b.replicas.AwaitServed(ctx, ids)
	for i := range results {
		if err != nil && results[i].Err == nil {
			results[i].Err = fmt.Errorf("wait for topic %q to be served: %w", results[i].Name, err)
		}
	}
}

// missingTopics creates topics that a client has asked for, if create is set. It returns the topics
// that now exist and the errors of the others.
func (b *Broker) missingTopics(ctx context.Context, names []string, create bool) (created []string, failed []metadata.TopicResult) {
	if len(names) == 0 {
		return nil, nil
	}
	if !create {
		for _, name := range names {
			err := metadata.ValidateTopicName(name)
			if err == nil {
				err = metadata.ErrUnknownTopic
			}
			failed = append(failed, metadata.TopicResult{Name: name, Err: err})
		}
		return nil, failed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, autoCreateTimeout, context.DeadlineExceeded)
	defer cancel()
	specs := make([]metadata.TopicSpec, len(names))
	for i, name := range names {
		specs[i] = b.defaultSpec(name)
	}
	for _, r := range b.create(ctx, specs, false) {
		switch {
		case r.Err == nil, errors.Is(r.Err, metadata.ErrTopicExists): // another client was faster
			created = append(created, r.Name)
		case errors.Is(r.Err, context.DeadlineExceeded), errors.Is(r.Err, kv.ErrUnavailable):
			// the client asks again
			failed = append(failed, metadata.TopicResult{Name: r.Name, Err: metadata.ErrUnknownTopic})
		default:
			failed = append(failed, r)
		}
	}
	return created, failed
}

// autoCreateTimeout bounds how long a request waits for a topic that it did not ask to create.
const autoCreateTimeout = 10 * time.Second

// defaultSpec returns the spec of a topic that is created automatically.
func (b *Broker) defaultSpec(name string) metadata.TopicSpec {
	layers := b.layers()
	settings := layers.Broker()
	if name == offsetsTopic {
		return metadata.TopicSpec{
			Name:              name,
			Partitions:        settings.Int32("offsets.topic.num.partitions"),
			ReplicationFactor: b.replicationFactor(layers, "offsets.topic.replication.factor"),
			Configs:           offsetsTopicConfigs(settings),
		}
	}
	return metadata.TopicSpec{
		Name:              name,
		Partitions:        settings.Int32("num.partitions"),
		ReplicationFactor: b.replicationFactor(layers, "default.replication.factor"),
	}
}

// unsetReplicationFactor is how many replicas a topic gets if neither a request nor a setting says
// it and there are as many brokers.
const unsetReplicationFactor = 3

// replicationFactor returns the setting of that name. If it is not set, there are as many replicas
// as the known brokers can hold, up to three; dead brokers count. Kafka's default of one replica
// survives no broker failure, and its three replicas for offsets do not fit into a cluster of one.
// A value that is set is used even if there are too few brokers for it, as in Kafka.
func (b *Broker) replicationFactor(layers config.Layers, name string) int16 {
	for _, layer := range []map[string]string{layers.DynamicBroker, layers.DynamicDefault, layers.Static} {
		if _, set := layer[name]; set {
			return int16(layers.Broker().Int32(name))
		}
	}
	return int16(min(unsetReplicationFactor, max(len(b.cluster.Image().Known), 1)))
}

// offsetsTopicConfigs returns the settings that the coordinator relies on. Compacted topics are not
// uploaded to the object store.
func offsetsTopicConfigs(settings config.Values) map[string]string {
	return map[string]string{
		"cleanup.policy":        "compact",
		"compression.type":      "producer",
		"remote.storage.enable": "false",
		"segment.bytes":         strconv.FormatInt(settings.Int64("offsets.topic.segment.bytes"), 10),
	}
}

// ensureOffsetsTopic creates the topic of groups and offsets if it is missing.
func (b *Broker) ensureOffsetsTopic(ctx context.Context) (*metadata.Topic, error) {
	if topic, ok := b.cluster.Image().TopicByName(offsetsTopic); ok {
		return topic, nil
	}
	_, failed := b.missingTopics(ctx, []string{offsetsTopic}, true)
	if len(failed) > 0 {
		return nil, fmt.Errorf("%w: %w", errCoordinatorNotReady, failed[0].Err)
	}
	topic, ok := b.cluster.Image().TopicByName(offsetsTopic)
	if !ok { // deleted since
		return nil, errCoordinatorNotReady
	}
	return topic, nil
}

// withTimeout bounds an administrative request's wait by the request's own timeout. Without one it
// uses Kafka's default.
func withTimeout(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	d := time.Duration(millis) * time.Millisecond
	if d <= 0 {
		d = defaultAdminTimeout
	}
	return context.WithTimeoutCause(ctx, d, context.DeadlineExceeded)
}

const defaultAdminTimeout = 30 * time.Second
