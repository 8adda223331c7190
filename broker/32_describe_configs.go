package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
)

// DescribeConfigs returns the effective settings of topics and of this broker, and the source of
// each. Versions 1-4.
//
//   - v1 (KIP-226): synonyms on request.
//   - v3 (KIP-569): types, and documentation on request.
//   - A broker with an empty name means all brokers: only the settings that are set for all of them
//     are returned.
//
// Not implemented: broker loggers, groups, client metrics (INVALID_REQUEST); authorization.
func (b *Broker) describeConfigs(ctx context.Context, _ *Request, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, r := range req.Resources {
		answer := kmsg.NewDescribeConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = r.ResourceType, r.ResourceName
		entries, err := b.describeConfigsOf(r)
		answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, err)
		for _, e := range entries {
			if len(r.ConfigNames) == 0 || slices.Contains(r.ConfigNames, e.Name) {
				answer.Configs = append(answer.Configs, describedConfig(e, req))
			}
		}
		resp.Resources = append(resp.Resources, answer)
	}
	return resp
}

func (b *Broker) describeConfigsOf(r kmsg.DescribeConfigsRequestResource) ([]config.Entry, error) {
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := metadata.ValidateTopicName(r.ResourceName); err != nil {
			return nil, err
		}
		image := b.cluster.Image()
		if _, ok := image.TopicByName(r.ResourceName); !ok {
			return nil, fmt.Errorf("topic %s: %w", r.ResourceName, metadata.ErrUnknownTopic)
		}
		return b.layers().DescribeTopic(image.TopicConfigs(r.ResourceName)), nil
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName == "" {
			return b.layers().DescribeDefaultBroker(), nil
		}
		if id, err := brokerID(r.ResourceName); err != nil {
			return nil, err
		} else if id != b.cfg.NodeID {
			return nil, fmt.Errorf("unexpected broker id, expected %d or empty string, but received %s: %w", b.cfg.NodeID, r.ResourceName, errInvalidRequest)
		}
		return b.layers().DescribeBroker(), nil
	default:
		return nil, fmt.Errorf("resource type %s is not supported: %w", r.ResourceType, errInvalidRequest)
	}
}

// brokerID parses the name of a broker resource.
func brokerID(name string) (int32, error) {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("broker id must be an integer, but it is: %q: %w", name, errInvalidRequest)
	}
	return int32(id), nil
}

func describedConfig(e config.Entry, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
	c.Source, c.IsDefault, c.ConfigType = kmsg.ConfigSource(e.Source), e.Source == config.SourceDefault, kmsg.ConfigType(e.Type)
	if req.IncludeDocumentation {
		c.Documentation = &e.Doc
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			cs := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			cs.Name, cs.Value, cs.Source = s.Name, s.Value, kmsg.ConfigSource(s.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, cs)
		}
	}
	return c
}
