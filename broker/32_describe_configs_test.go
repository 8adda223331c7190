package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

func describeRequest(version int16, kind kmsg.ConfigResourceType, name string, keys ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = version
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: keys}}
	return req
}

func (c *testCluster) set(r metadata.ConfigResource, configs map[string]string) {
	c.t.Helper()
	if err := c.admin.UpdateConfigs(c.t.Context(), r, func(map[string]string) (map[string]string, error) { return configs, nil }); err != nil {
		c.t.Fatal(err)
	}
}

func TestDescribeTopicConfigsInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 1, map[string]string{"log.segment.bytes": "2097152"})
	c.topic("x", 1, 1)
	c.set(metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: "x"}, map[string]string{"segment.bytes": "3145728"})
	c.set(metadata.ConfigResource{Kind: metadata.DefaultBrokerConfig}, map[string]string{"log.retention.ms": "7000"})
	for version := int16(1); version <= 4; version++ {
		req := describeRequest(version, kmsg.ConfigResourceTypeTopic, "x", "segment.bytes", "retention.ms", "unknown")
		req.IncludeSynonyms, req.IncludeDocumentation = true, true
		r := c.call(req).(*kmsg.DescribeConfigsResponse).Resources[0]
		if r.ErrorCode != 0 || r.ResourceName != "x" || r.ResourceType != kmsg.ConfigResourceTypeTopic || len(r.Configs) != 2 {
			t.Fatalf("v%d: %+v", version, r)
		}
		retention, segment := r.Configs[0], r.Configs[1]
		if shown(retention.Value) != "7000" || retention.Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig {
			t.Errorf("v%d: retention %s from %s", version, shown(retention.Value), retention.Source)
		}
		if shown(segment.Value) != "3145728" || segment.Source != kmsg.ConfigSourceDynamicTopicConfig || segment.ReadOnly || segment.IsSensitive {
			t.Errorf("v%d: %+v", version, segment)
		}
		if s := segment.ConfigSynonyms; len(s) != 3 || s[0].Name != "segment.bytes" || s[1].Name != "log.segment.bytes" || shown(s[1].Value) != "2097152" || s[1].Source != kmsg.ConfigSourceStaticBrokerConfig || s[2].Source != kmsg.ConfigSourceDefaultConfig {
			t.Errorf("v%d: synonyms %+v", version, s)
		}
		if version >= 3 && (segment.ConfigType != kmsg.ConfigTypeInt || segment.Documentation == nil) {
			t.Errorf("v%d: %+v", version, segment)
		}
	}
	r := c.call(describeRequest(4, kmsg.ConfigResourceTypeTopic, "x")).(*kmsg.DescribeConfigsResponse).Resources[0]
	if len(r.Configs) < 10 || len(r.Configs[0].ConfigSynonyms) > 0 || r.Configs[0].Documentation != nil {
		t.Errorf("%d settings, %+v", len(r.Configs), r.Configs[0])
	}
}

func TestDescribeBrokerConfigs(t *testing.T) {
	c := newTestCluster(t, 1, map[string]string{"num.partitions": "7"})
	c.set(metadata.ConfigResource{Kind: metadata.DefaultBrokerConfig}, map[string]string{"log.retention.ms": "7000"})
	r := c.call(describeRequest(4, kmsg.ConfigResourceTypeBroker, "1", "num.partitions")).(*kmsg.DescribeConfigsResponse).Resources[0]
	if r.ErrorCode != 0 || len(r.Configs) != 1 || shown(r.Configs[0].Value) != "7" || r.Configs[0].Source != kmsg.ConfigSourceStaticBrokerConfig || !r.Configs[0].ReadOnly {
		t.Errorf("%+v", r)
	}
	r = c.call(describeRequest(4, kmsg.ConfigResourceTypeBroker, "")).(*kmsg.DescribeConfigsResponse).Resources[0]
	if r.ErrorCode != 0 || len(r.Configs) != 1 || r.Configs[0].Name != "log.retention.ms" {
		t.Errorf("of all brokers: %+v", r)
	}
}

func TestDescribeConfigsRefusals(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for _, tc := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want protocol.ErrorCode
	}{
		{kmsg.ConfigResourceTypeTopic, "nope", protocol.UnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "a b", protocol.InvalidTopicException},
		{kmsg.ConfigResourceTypeBroker, "2", protocol.InvalidRequest},
		{kmsg.ConfigResourceTypeBroker, "one", protocol.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", protocol.InvalidRequest},
		{99, "1", protocol.InvalidRequest},
	} {
		r := c.call(describeRequest(4, tc.kind, tc.name)).(*kmsg.DescribeConfigsResponse).Resources[0]
		if r.ErrorCode != int16(tc.want) || r.ErrorMessage == nil || len(r.Configs) != 0 || r.ResourceName != tc.name {
			t.Errorf("%s %q: %+v, %s", tc.kind, tc.name, r, shown(r.ErrorMessage))
		}
	}
}
