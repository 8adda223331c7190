package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/varvelog/varve/metadata/kv"
)

// ConfigKind is the kind of a ConfigResource.
type ConfigKind int8

// The kinds of resources with dynamic settings.
const (
	// TopicConfig are the settings of one topic.
	TopicConfig ConfigKind = iota + 1
	// BrokerConfig are the settings of one broker.
	BrokerConfig
	// DefaultBrokerConfig are the settings of all brokers.
	DefaultBrokerConfig
)

// ConfigResource is a resource with dynamic settings.
type ConfigResource struct {
	Kind   ConfigKind
	Topic  string // for TopicConfig
	Broker int32  // for BrokerConfig
}

// String returns the resource's name for messages.
func (r ConfigResource) String() string {
	switch r.Kind {
	case TopicConfig:
		return "topic " + r.Topic
	case BrokerConfig:
		return "broker " + strconv.Itoa(int(r.Broker))
	default:
		return "all brokers"
	}
}

func (r ConfigResource) key() string {
	switch r.Kind {
	case TopicConfig:
		return topicConfigsPrefix + r.Topic
	case BrokerConfig:
		return brokerConfigsPrefix + strconv.Itoa(int(r.Broker))
	default:
		return brokerConfigsPrefix + defaultBroker
	}
}

// UpdateConfigs replaces the settings of a resource by those that change returns for the present
// ones. change gets a copy of them, which is never nil and which it may write to. It runs again
// after a conflict with another writer. If change returns an error, UpdateConfigs returns that
// error unwrapped. Otherwise it returns when this broker's image shows the result.
func (a *Admin) UpdateConfigs(ctx context.Context, r ConfigResource, change func(old map[string]string) (map[string]string, error)) error {
	var revision int64
	var refused error
	err := swap(ctx, "configure "+r.String(), func(ctx context.Context) error {
		var guards []kv.Comparison
		if r.Kind == TopicConfig {
			_, topic, err := a.topic(ctx, r.Topic)
			if err != nil {
				return err
			}
			guards = append(guards, kv.CreatedAt(topic.Key, topic.CreateRevision))
		}
		pair, err := a.store.Get(ctx, r.key())
		if err != nil {
			return err
		}
		old := map[string]string{}
		var v configsValue
		if pair.Exists() {
			if v, err = decode[configsValue](pair); err != nil {
				return err
			}
			maps.Copy(old, v.Configs)
		}
		was := maps.Clone(old)
		next, err := change(old)
		if err != nil {
			refused = err
			return nil //nolint:nilerr // refused carries it
		}
		if maps.Equal(was, next) {
			revision = pair.ModRevision
			return nil
		}
		op := kv.Put(pair.Key, encode(configsValue{kept: v.kept, V: valueVersion, Configs: next}))
		if len(next) == 0 && v.unknown == "" {
			op = kv.Delete(pair.Key)
		}
		revision, err = a.store.Txn(ctx, append(guards, kv.ModifiedAt(pair.Key, pair.ModRevision)), op)
		return err
	})
	switch {
	case refused != nil:
		return refused
	case errors.Is(err, ErrUnknownTopic):
		return err
	case err != nil:
		return fmt.Errorf("configure %s: %w", r, err)
	}
	_, err = a.loader.WaitRevision(ctx, revision)
	return err
}
