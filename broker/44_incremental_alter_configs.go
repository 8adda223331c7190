package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
)

// IncrementalAlterConfigs changes single settings of topics and brokers. Versions 0-1 (KIP-339).
// Each resource is changed independently: all of its settings or none. The response is sent after
// the change is in force for this broker's partitions.
//
//   - SET and DELETE work for all settings, APPEND and SUBTRACT for lists. A list that is not set
//     starts from its effective value.
//   - A broker with an empty name means all brokers. Any broker can change the settings of any
//     other.
//
// Not implemented: broker loggers, groups, client metrics (INVALID_REQUEST); policies;
// authorization.
func (b *Broker) incrementalAlterConfigs(ctx context.Context, _ *Request, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	count := make(map[resource]int, len(req.Resources))
	for _, r := range req.Resources {
		count[resource{r.ResourceType, r.ResourceName}]++
	}
	for _, r := range req.Resources {
		answer := kmsg.NewIncrementalAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = r.ResourceType, r.ResourceName
		err := fmt.Errorf("each resource must appear at most once: %w", errInvalidRequest)
		if count[resource{r.ResourceType, r.ResourceName}] == 1 {
			err = b.alterConfigs(ctx, r, req.ValidateOnly)
		}
		answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, err)
		resp.Resources = append(resp.Resources, answer)
	}
	return resp
}

// alterConfigs changes one resource, or only validates the change.
func (b *Broker) alterConfigs(ctx context.Context, r kmsg.IncrementalAlterConfigsRequestResource, validateOnly bool) error {
	if err := checkOps(r.Configs); err != nil {
		return err
	}
	target, err := b.configTarget(r)
	if err != nil {
		return err
	}
	change := func(old map[string]string) (map[string]string, error) {
		next, refused := applyOps(old, r.Configs, target)
		if refused != nil {
			return nil, refused
		}
		if refused = target.validate(old, next); refused != nil {
			return nil, fmt.Errorf("%w: %w", errInvalidConfig, refused)
		}
		return next, nil
	}
	if validateOnly {
		_, err = change(maps.Clone(target.current))
		return err
	}
	if err = b.admin.UpdateConfigs(ctx, target.resource, change); err != nil {
		return err
	}
	return b.replicas.AwaitServed(ctx, nil)
}

// configTarget is the resource of a request, and how its settings are looked up and validated.
type configTarget struct {
	resource  metadata.ConfigResource
	current   map[string]string                       // what is set according to the image
	key       func(name string) (config.Key, error)   // the key of a setting
	effective func(name string) []string              // value of a list that is not set
	validate  func(old, next map[string]string) error // validates the resulting settings as a whole
}

func (b *Broker) configTarget(r kmsg.IncrementalAlterConfigsRequestResource) (configTarget, error) {
	image, layers := b.cluster.Image(), b.layers()
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if _, ok := image.TopicByName(r.ResourceName); !ok {
			return configTarget{}, fmt.Errorf("topic %q: %w", r.ResourceName, metadata.ErrUnknownTopic)
		}
		return configTarget{
			resource:  metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: r.ResourceName},
			current:   image.TopicConfigs(r.ResourceName),
			key:       config.TopicKey,
			effective: func(name string) []string { return layers.Topic(nil).List(name) },
			validate:  layers.ValidateTopicUpdate,
		}, nil
	case kmsg.ConfigResourceTypeBroker:
		t := configTarget{
			resource:  metadata.ConfigResource{Kind: metadata.DefaultBrokerConfig},
			current:   image.DefaultBrokerConfigs(),
			key:       config.BrokerKey,
			effective: func(name string) []string { return layers.Broker().List(name) },
			validate:  func(_, next map[string]string) error { return layers.ValidateDynamicDefault(next) },
		}
		if r.ResourceName == "" {
			return t, nil
		}
		id, err := brokerID(r.ResourceName)
		if err != nil {
			return configTarget{}, err
		}
		t.resource = metadata.ConfigResource{Kind: metadata.BrokerConfig, Broker: id}
		t.current = image.BrokerConfigs(id)
		t.validate = func(_, next map[string]string) error { return layers.ValidateDynamicBroker(next) }
		return t, nil
	default:
		return configTarget{}, fmt.Errorf("resource type %s is not supported: %w", r.ResourceType, errInvalidRequest)
	}
}

// checkOps rejects operations that are wrong for all settings.
func checkOps(ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	seen := make(map[string]bool, len(ops))
	var nulls []string
	for _, op := range ops {
		if seen[op.Name] {
			return fmt.Errorf("error due to duplicate config keys: %s: %w", op.Name, errInvalidRequest)
		}
		seen[op.Name] = true
		if op.Value == nil && op.Op != kmsg.IncrementalAlterConfigOpDelete {
			nulls = append(nulls, op.Name)
		}
	}
	if len(nulls) > 0 {
		return fmt.Errorf("null value not supported for: %s: %w", strings.Join(nulls, ","), errInvalidRequest)
	}
	return nil
}

// applyOps returns a changed copy of old.
func applyOps(old map[string]string, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig, target configTarget) (map[string]string, error) {
	next := maps.Clone(old)
	if next == nil {
		next = make(map[string]string, len(ops))
	}
	for _, op := range ops {
		switch op.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			next[op.Name] = *op.Value
		case kmsg.IncrementalAlterConfigOpDelete:
			delete(next, op.Name)
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			k, err := target.key(op.Name)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errInvalidConfig, err)
			}
			if k.Type != config.List {
				return nil, fmt.Errorf("can't %s to key %s because its type is not LIST: %w", op.Op, op.Name, errInvalidConfig)
			}
			list := target.effective(op.Name)
			if set, ok := next[op.Name]; ok {
				list = splitList(set)
			}
			next[op.Name] = strings.Join(changeList(list, splitList(*op.Value), op.Op), ",")
		default:
			return nil, fmt.Errorf("unknown operation %d: %w", int8(op.Op), errInvalidRequest)
		}
	}
	return next, nil
}

func changeList(list, items []string, op kmsg.IncrementalAlterConfigOp) []string {
	if op == kmsg.IncrementalAlterConfigOpSubtract {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(items, s) })
	}
	list = slices.Clone(list)
	for _, item := range items {
		if !slices.Contains(list, item) {
			list = append(list, item)
		}
	}
	return list
}

// splitList returns the items of a list without the blanks around them.
func splitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}
