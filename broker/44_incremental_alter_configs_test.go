package broker

import (
	"fmt"
	"maps"
	"slices"
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
			if got := c.loader.Image().TopicConfigs("x"); !maps.Equal(got, step.want) {
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
		{before: "", kind: opApp, value: "delete", want: "delete"}, // the default value contains it
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
		if got := c.loader.Image().TopicConfigs("x")["cleanup.policy"]; got != step.want {
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

// TestReassignmentThrottles sends the requests of kafka-reassign-partitions.sh with --throttle and,
// after the reassignment, with --verify: to any broker, about all of them. The rate of moves
// between directories is not served, but its removal is no error.
func TestReassignmentThrottles(t *testing.T) {
	const leaderRate, followerRate = "leader.replication.throttled.rate", "follower.replication.throttled.rate"
	const led, followed = "leader.replication.throttled.replicas", "follower.replication.throttled.replicas"
	c := newTestCluster(t, 2, nil)
	c.topic("x", 2, 1)
	topic, broker := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for _, req := range []*kmsg.IncrementalAlterConfigsRequest{
		alterRequest(topic, "x", alter(led, opSet, "0:1,1:2"), alter(followed, opSet, "0:2,1:1")),
		alterRequest(broker, "1", alter(leaderRate, opSet, "50000000"), alter(followerRate, opSet, "40000000")),
		alterRequest(broker, "2", alter(leaderRate, opSet, "50000000"), alter(followerRate, opSet, "40000000")),
	} {
		if code, text := c.alter(req); code != 0 {
			t.Fatal(code, text)
		}
	}
	values := c.layers().Topic(c.loader.Image().TopicConfigs("x"))
	if !slices.Equal(values.List(led), []string{"0:1", "1:2"}) || !slices.Equal(values.List(followed), []string{"0:2", "1:1"}) {
		t.Errorf("topic: %v, %v", values.List(led), values.List(followed))
	}
	shownOf := func(kind kmsg.ConfigResourceType, name, key string) string {
		t.Helper()
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version = 4
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: []string{key}}}
		r := c.call(req).(*kmsg.DescribeConfigsResponse).Resources[0]
		if r.ErrorCode != 0 || len(r.Configs) != 1 || r.Configs[0].ReadOnly {
			t.Fatalf("%s: %+v", key, r)
		}
		return fmt.Sprintf("%s from %d", shown(r.Configs[0].Value), r.Configs[0].Source)
	}
	for _, step := range []struct {
		kind            kmsg.ConfigResourceType
		name, key, want string
	}{
		{topic, "x", led, "0:1,1:2 from 1"},
		{broker, "1", leaderRate, "50000000 from 2"},
		{broker, "1", followerRate, "40000000 from 2"},
	} {
		if got := shownOf(step.kind, step.name, step.key); got != step.want {
			t.Errorf("%s: %s", step.key, got)
		}
	}
	del := func(names ...string) (ops []alteration) {
		for _, name := range names {
			ops = append(ops, alteration{Name: name, Op: opDel})
		}
		return ops
	}
	for _, req := range []*kmsg.IncrementalAlterConfigsRequest{
		alterRequest(broker, "1", del(leaderRate, followerRate, "replica.alter.log.dirs.io.max.bytes.per.second")...),
		alterRequest(broker, "2", del(leaderRate, followerRate, "replica.alter.log.dirs.io.max.bytes.per.second")...),
		alterRequest(topic, "x", del(led, followed)...),
	} {
		if code, text := c.alter(req); code != 0 {
			t.Fatal(code, text)
		}
	}
	image := c.loader.Image()
	if len(image.TopicConfigs("x"))+len(image.BrokerConfigs(1))+len(image.BrokerConfigs(2)) != 0 {
		t.Errorf("left: %v, %v, %v", image.TopicConfigs("x"), image.BrokerConfigs(1), image.BrokerConfigs(2))
	}
	if got := shownOf(topic, "x", led); got != " from 5" {
		t.Errorf("nothing is throttled, but %s is %s", led, got)
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
		"throttled replicas":   {alterRequest(topic, "x", alter("leader.replication.throttled.replicas", opSet, "0:1:2")), protocol.InvalidConfig},
		"throttle as a word":   {alterRequest(broker, "1", alter("leader.replication.throttled.rate", opSet, "-1")), protocol.InvalidConfig},
		"rate of a move":       {alterRequest(broker, "1", alter("replica.alter.log.dirs.io.max.bytes.per.second", opSet, "-1")), protocol.InvalidConfig},
		"throttle window":      {alterRequest(broker, "1", alter("replication.quota.window.num", opSet, "5")), protocol.InvalidRequest},
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
			if got := c.loader.Image().TopicConfigs("x"); len(got) != 0 {
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
	if got := c.loader.Image().TopicConfigs("x"); len(got) != 0 {
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
