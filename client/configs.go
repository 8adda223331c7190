package client

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config is one setting of a topic or a broker.
type Config struct {
	Name      string
	Value     string // empty if it is sensitive
	Sensitive bool
	Source    string // Kafka's name, such as DYNAMIC_TOPIC_CONFIG
	Default   bool   // not set on any level
}

// Resource is a topic or a broker with its settings, sorted by name.
type Resource struct {
	Name    string
	Configs []Config
}

// ConfigChange sets some settings and resets others to their default.
type ConfigChange struct {
	Set   map[string]string
	Unset []string
}

// TopicConfigs describes the settings of topics.
func (c *Client) TopicConfigs(ctx context.Context, topics ...string) ([]Resource, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	described, err := c.admin.DescribeTopicConfigs(ctx, topics...)
	return c.resources("topic ", described, err)
}

// BrokerConfigs describes the settings of brokers; without ids, those set for the whole cluster.
func (c *Client) BrokerConfigs(ctx context.Context, ids ...int32) ([]Resource, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	described, err := c.admin.DescribeBrokerConfigs(ctx, ids...)
	return c.resources("broker ", described, err)
}

// AlterTopicConfigs changes settings of a topic: all of them or none.
func (c *Client) AlterTopicConfigs(ctx context.Context, topic string, change ConfigChange) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	responses, err := c.admin.AlterTopicConfigs(ctx, change.ops(), topic)
	return c.altered("topic ", responses, err)
}

// AlterBrokerConfigs changes settings of brokers, or of the whole cluster if no id is given.
func (c *Client) AlterBrokerConfigs(ctx context.Context, change ConfigChange, ids ...int32) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	responses, err := c.admin.AlterBrokerConfigs(ctx, change.ops(), ids...)
	return c.altered("broker ", responses, err)
}

func (c *Client) resources(kind string, described kadm.ResourceConfigs, err error) ([]Resource, error) {
	if err != nil {
		return nil, c.Explain(err)
	}
	var all []Resource
	var failed []error
	for _, d := range described {
		if d.Err != nil {
			failed = append(failed, c.about(kind+d.Name, d.ErrMessage, d.Err))
			continue
		}
		r := Resource{Name: d.Name}
		for _, config := range d.Configs {
			r.Configs = append(r.Configs, Config{
				Name: config.Key, Value: config.MaybeValue(), Sensitive: config.Sensitive,
				Source: config.Source.String(), Default: isDefault(config.Source),
			})
		}
		slices.SortFunc(r.Configs, func(a, b Config) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return all, errors.Join(failed...)
}

func (c *Client) altered(kind string, responses kadm.AlterConfigsResponses, err error) error {
	if err != nil {
		return c.Explain(err)
	}
	var failed []error
	for _, r := range responses {
		failed = append(failed, c.about(kind+r.Name, r.ErrMessage, r.Err))
	}
	return errors.Join(failed...)
}

// ops sorts the changes, so that the same command makes the same request.
func (change ConfigChange) ops() []kadm.AlterConfig {
	ops := make([]kadm.AlterConfig, 0, len(change.Set)+len(change.Unset))
	for name, value := range change.Set {
		ops = append(ops, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	for _, name := range change.Unset {
		ops = append(ops, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	slices.SortFunc(ops, func(a, b kadm.AlterConfig) int { return strings.Compare(a.Name, b.Name) })
	return ops
}

// isDefault reports whether a value is not set on any level, not even in the broker's own file.
func isDefault(s kmsg.ConfigSource) bool { return s == kmsg.ConfigSourceDefaultConfig }
