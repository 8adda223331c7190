package broker

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
)

func newTopic(name string, partitions int32, replicas int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	for i := 0; i < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	return t
}

func createRequest(version int16, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics, req.TimeoutMillis = version, topics, 10_000
	return req
}

func TestCreateTopicsInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 3, map[string]string{"num.partitions": "5"})
	for version := int16(2); version <= 7; version++ {
		name := "t" + string(rune('0'+version))
		req := createRequest(version, newTopic(name, -1, 2, "retention.ms", "1234567"))
		resp := c.call(req).(*kmsg.CreateTopicsResponse)
		topic, ok := c.loader.Image().TopicByName(name)
		if !ok || len(topic.Partitions) != 5 || len(topic.Partitions[0].Replicas) != 2 {
			t.Fatalf("v%d: %+v, answer %+v", version, topic, resp.Topics)
		}
		answer := resp.Topics[0]
		if answer.ErrorCode != 0 || answer.ErrorMessage != nil || answer.Topic != name {
			t.Errorf("v%d: %+v", version, answer)
		}
		if version >= 5 {
			retention := ""
			for _, config := range answer.Configs {
				if config.Name == "retention.ms" && config.Source == 1 {
					retention = shown(config.Value)
				}
			}
			if answer.NumPartitions != 5 || answer.ReplicationFactor != 2 || retention != "1234567" {
				t.Errorf("v%d: %+v", version, answer)
			}
		}
		if version >= 7 && answer.TopicID != topic.ID {
			t.Errorf("v%d: topic id %v", version, answer.TopicID)
		}
		if waited := c.replicas.waited; waited[len(waited)-1] != topic.ID {
			t.Errorf("v%d: did not wait for the topic to be served", version)
		}
	}
}

func TestCreateTopicsRefusals(t *testing.T) {
	assigned := func(partitions int32, replicas int16, assignment ...[]int32) kmsg.CreateTopicsRequestTopic {
		topic := newTopic("x", partitions, replicas)
		for i, r := range assignment {
			topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: r})
		}
		return topic
	}
	twice := assigned(-1, -1, []int32{1}, []int32{1})
	twice.ReplicaAssignment[1].Partition = 0
	null := newTopic("x", 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	cases := map[string]struct {
		topic kmsg.CreateTopicsRequestTopic
		code  protocol.ErrorCode
		text  string
	}{
		"exists":                   {newTopic("there", 1, 1), protocol.TopicAlreadyExists, "already exists"},
		"bad name":                 {newTopic("a b", 1, 1), protocol.InvalidTopicException, "a b"},
		"no partitions":            {newTopic("x", 0, 1), protocol.InvalidPartitions, "non-positive"},
		"-2 partitions":            {newTopic("x", -2, 1), protocol.InvalidPartitions, ""},
		"no replicas":              {newTopic("x", 1, 0), protocol.InvalidReplicationFactor, ""},
		"too many replicas":        {newTopic("x", 1, 4), protocol.InvalidReplicationFactor, ""},
		"too many partitions":      {newTopic("x", 10_001, 1), protocol.PolicyViolation, ""},
		"bad value":                {newTopic("x", 1, 1, "retention.ms", "abc"), protocol.InvalidConfig, "retention.ms"},
		"unknown setting":          {newTopic("x", 1, 1, "retention.mss", "1"), protocol.InvalidConfig, "retention.ms"},
		"two bad values":           {newTopic("x", 1, 1, "retention.mss", "1", "segment.bytes", "-4"), protocol.InvalidConfig, "segment.bytes"},
		"null value":               {null, protocol.InvalidConfig, "retention.ms"},
		"assigned and counted":     {assigned(1, -1, []int32{1}), protocol.InvalidRequest, "numPartitions"},
		"assigned and replicated":  {assigned(-1, 1, []int32{1}), protocol.InvalidRequest, "replication factor"},
		"assigned to a dead one":   {assigned(-1, -1, []int32{9}), protocol.InvalidReplicaAssignment, "9"},
		"assigned twice":           {twice, protocol.InvalidReplicaAssignment, ""},
		"assigned to one two time": {assigned(-1, -1, []int32{1, 1}), protocol.InvalidReplicaAssignment, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, 3, nil)
			c.topic("there", 1, 1)
			// A valid topic in the same request is not affected.
			answers := c.call(createRequest(7, tc.topic, newTopic("good", 1, 1))).(*kmsg.CreateTopicsResponse).Topics
			if len(answers) != 2 || answers[0].ErrorCode != int16(tc.code) || !strings.Contains(shown(answers[0].ErrorMessage), tc.text) {
				t.Errorf("%+v, %s", answers[0], shown(answers[0].ErrorMessage))
			}
			if tc.code != protocol.PolicyViolation && answers[1].ErrorCode != 0 {
				t.Errorf("the good topic: %+v, %s", answers[1], shown(answers[1].ErrorMessage))
			}
			expectLogged(t, c.logs, "no code", 0)
		})
	}
}

// TestRefusalsAreSaidOnce: the message does not repeat the name, which is in the response, nor the
// words of the error code.
func TestRefusalsAreSaidOnce(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("there", 1, 1)
	answers := c.call(createRequest(7, newTopic("there", 1, 1), newTopic("x", 1, 2))).(*kmsg.CreateTopicsResponse).Topics
	for i, want := range []string{
		"topic 'there' already exists",
		"the target replication factor of 2 cannot be reached because only 1 broker(s) are registered",
	} {
		if got := shown(answers[i].ErrorMessage); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCreateTopicsWithAssignment(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	topic := newTopic("x", -1, -1)
	topic.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 1, Replicas: []int32{3, 2}}, {Partition: 0, Replicas: []int32{2, 1}}}
	answer := c.call(createRequest(7, topic)).(*kmsg.CreateTopicsResponse).Topics[0]
	created, ok := c.loader.Image().TopicByName("x")
	if !ok || answer.NumPartitions != 2 || answer.ReplicationFactor != 2 || created.Partitions[0].Leader != 2 || created.Partitions[1].Leader != 3 {
		t.Errorf("%+v, %s", answer, shown(answer.ErrorMessage))
	}
}

func TestCreateTopicsDuplicatesAndValidation(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	answers := c.call(createRequest(7, newTopic("x", 1, 1), newTopic("x", 2, 1))).(*kmsg.CreateTopicsResponse).Topics
	if len(answers) != 1 || answers[0].ErrorCode != int16(protocol.InvalidRequest) {
		t.Errorf("%+v", answers)
	}
	req := createRequest(7, newTopic("x", 3, 1), newTopic("y", 0, 1))
	req.ValidateOnly = true
	answers = c.call(req).(*kmsg.CreateTopicsResponse).Topics
	if answers[0].ErrorCode != 0 || answers[0].NumPartitions != 3 || answers[0].TopicID != [16]byte{} || answers[1].ErrorCode != int16(protocol.InvalidPartitions) {
		t.Errorf("%+v", answers)
	}
	if c.loader.Image().TopicCount() != 0 || len(c.replicas.waited) != 0 {
		t.Error("validation changed something")
	}
}

func TestCreateTopicsTimesOut(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.replicas.err = kv.ErrUnavailable
	answer := c.call(createRequest(7, newTopic("x", 1, 1))).(*kmsg.CreateTopicsResponse).Topics[0]
	if answer.ErrorCode != int16(protocol.RequestTimedOut) {
		t.Errorf("%+v", answer)
	}
}
