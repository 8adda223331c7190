package broker

import (
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

const (
	opSet = kmsg.IncrementalAlterConfigOpSet
	opDel = kmsg.IncrementalAlterConfigOpDelete
	opApp = kmsg.IncrementalAlterConfigOpAppend
	opSub = kmsg.IncrementalAlterConfigOpSubtract
)

type alteration = kmsg.IncrementalAlterConfigsRequestResourceConfig

func alterRequest(kind kmsg.ConfigResourceType, name string, ops ...alteration) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name, Configs: ops}}
	return req
}

func alter(key string, op kmsg.IncrementalAlterConfigOp, value string) alteration {
	return alteration{Name: key, Op: op, Value: &value}
}

func (c *testCluster) alter(req *kmsg.IncrementalAlterConfigsRequest) (protocol.ErrorCode, string) {
	c.t.Helper()
	r := c.call(req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
	return protocol.ErrorCode(r.ErrorCode), shown(r.ErrorMessage)
}

func TestAlterTopicConfigs(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("x", 1, 1)
	steps := []struct {
		ops  []alteration
		want map[string]string
	}{
		{[]alteration{alter("retention.ms", opSet, "5000"), alter("segment.bytes", opSet, "1048576")}, map[string]string{"retention.ms": "5000", "segment.bytes": "1048576"}},
		{[]alteration{{Name: "retention.ms", Op: opDel}, alter("segment.ms", opSet, "60000")}, map[string]string{"segment.bytes": "1048576", "segment.ms": "60000"}},
		{[]alteration{{Name: "segment.bytes", Op: opDel}, {Name: "segment.ms", Op: opDel}, {Name: "flush.ms", Op: opDel}}, nil},
	}
	for version := range int16(2) {
		for i, step := range steps {
			req := alterRequest(kmsg.ConfigResourceTypeTopic, "x", step.ops...)
			req.Version = version
			if code, text := c.alter(req); code != 0 || text != "null" {
				t.Fatalf("step %d: %s %s", i, code, text)
			}
			if got := c.follower.Image().TopicConfigs("x"); !maps.Equal(got, step.want) {
				t.Fatalf("step %d: %v", i, got)
			}
		}
	}
}

func TestAlterLists(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("x", 1, 1)
	topic := metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: "x"}
	for _, step := range []struct {
		before, op, value, want string
		kind                    kmsg.IncrementalAlterConfigOp
	}{
		{before: "", kind: opApp, value: "delete", want: "delete"}, // the default has it
		{before: "delete", kind: opApp, value: "delete", want: "delete"},
		{before: "delete", kind: opSub, value: "compact", want: "delete"},
	} {
		configs := map[string]string{}
		if step.before != "" {
			configs["cleanup.policy"] = step.before
		}
		c.set(topic, configs)
		if code, text := c.alter(alterRequest(kmsg.ConfigResourceTypeTopic, "x", alter("cleanup.policy", step.kind, step.value))); code != 0 {
			t.Errorf("%+v: %s %s", step, code, text)
		}
		if got := c.follower.Image().TopicConfigs("x")["cleanup.policy"]; got != step.want {
			t.Errorf("%+v: %q", step, got)
		}
	}
	if got := changeList([]string{"a", "b"}, []string{"b", "c"}, opApp); len(got) != 3 || got[2] != "c" {
		t.Errorf("append: %v", got)
	}
	if got := changeList([]string{"a", "b"}, []string{"b", "c"}, opSub); len(got) != 1 || got[0] != "a" {
		t.Errorf("subtract: %v", got)
	}
}

func TestAlterBrokerConfigs(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	if code, text := c.alter(alterRequest(kmsg.ConfigResourceTypeBroker, "", alter("log.retention.ms", opSet, "9000"))); code != 0 {
		t.Fatal(code, text)
	}
	if code, text := c.alter(alterRequest(kmsg.ConfigResourceTypeBroker, "1", alter("log.retention.ms", opSet, "8000"))); code != 0 {
		t.Fatal(code, text)
	}
	if got := c.layers().Broker().Int64("log.retention.ms"); got != 8000 {
		t.Errorf("effective %d", got)
	}
	if code, _ := c.alter(alterRequest(kmsg.ConfigResourceTypeBroker, "1", alteration{Name: "log.retention.ms", Op: opDel})); code != 0 {
		t.Fatal(code)
	}
	if got := c.layers().Broker().Int64("log.retention.ms"); got != 9000 {
		t.Errorf("effective %d", got)
	}
}

func TestAlterConfigsRefusals(t *testing.T) {
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	cases := map[string]struct {
		req  *kmsg.IncrementalAlterConfigsRequest
		want protocol.ErrorCode
	}{
		"unknown topic":        {alterRequest(topic, "nope", alter("retention.ms", opSet, "1")), protocol.UnknownTopicOrPartition},
		"unknown key":          {alterRequest(topic, "x", alter("retention.mss", opSet, "1")), protocol.InvalidConfig},
		"bad value":            {alterRequest(topic, "x", alter("retention.ms", opSet, "z")), protocol.InvalidConfig},
		"append to a number":   {alterRequest(topic, "x", alter("retention.ms", opApp, "1")), protocol.InvalidConfig},
		"append to unknown":    {alterRequest(topic, "x", alter("nope", opApp, "1")), protocol.InvalidConfig},
		"null":                 {alterRequest(topic, "x", alteration{Name: "retention.ms", Op: opSet}), protocol.InvalidRequest},
		"twice":                {alterRequest(topic, "x", alter("retention.ms", opSet, "1"), alter("retention.ms", opSet, "2")), protocol.InvalidRequest},
		"unknown operation":    {alterRequest(topic, "x", alter("retention.ms", 9, "1")), protocol.InvalidRequest},
		"read-only":            {alterRequest(broker, "1", alter("num.partitions", opSet, "3")), protocol.InvalidRequest},
		"bad broker":           {alterRequest(broker, "one", alter("log.retention.ms", opSet, "3")), protocol.InvalidRequest},
		"unknown resource":     {alterRequest(kmsg.ConfigResourceTypeBrokerLogger, "1"), protocol.InvalidRequest},
		"no way back from the": {alterRequest(topic, "x", alter("remote.storage.enable", opSet, "false")), protocol.InvalidConfig},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, 1, nil)
			c.topic("x", 1, 1)
			for _, validateOnly := range []bool{true, false} {
				tc.req.ValidateOnly = validateOnly
				if code, text := c.alter(tc.req); code != tc.want || text == "null" {
					t.Errorf("validate only %v: %s %s", validateOnly, code, text)
				}
			}
			if got := c.follower.Image().TopicConfigs("x"); len(got) != 0 {
				t.Errorf("changed to %v", got)
			}
			expectLogged(t, c.logs, "no code", 0)
		})
	}
}

func TestAlterConfigsValidatesOnly(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("x", 1, 1)
	req := alterRequest(kmsg.ConfigResourceTypeTopic, "x", alter("retention.ms", opSet, "5000"))
	req.ValidateOnly = true
	if code, text := c.alter(req); code != 0 {
		t.Error(code, text)
	}
	if got := c.follower.Image().TopicConfigs("x"); len(got) != 0 {
		t.Errorf("changed to %v", got)
	}
}

func TestAlterConfigsNamesAResourceOnce(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("x", 1, 1)
	req := alterRequest(kmsg.ConfigResourceTypeTopic, "x", alter("retention.ms", opSet, "5000"))
	req.Resources = append(req.Resources, req.Resources[0])
	for _, r := range c.call(req).(*kmsg.IncrementalAlterConfigsResponse).Resources {
		if r.ErrorCode != int16(protocol.InvalidRequest) {
			t.Errorf("%+v", r)
		}
	}
}
