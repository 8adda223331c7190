package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestCreatePartitionsInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for version := range int16(4) {
		name := "t" + string(rune('0'+version))
		c.topic(name, 2, 2)
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis = version, 10_000
		req.Topics = []kmsg.CreatePartitionsRequestTopic{
			{Topic: name, Count: 3, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{3, 1}}}},
			{Topic: "nope", Count: 3},
			{Topic: "twice", Count: 3},
			{Topic: "twice", Count: 4},
		}
		req.ValidateOnly = true
		c.call(req)
		topic, _ := c.loader.Image().TopicByName(name)
		if len(topic.Partitions) != 2 {
			t.Fatalf("v%d: validation changed something", version)
		}
		req.ValidateOnly = false
		codes := map[string]int16{}
		for _, answer := range c.call(req).(*kmsg.CreatePartitionsResponse).Topics {
			codes[answer.Topic] = answer.ErrorCode
		}
		if len(codes) != 3 || codes[name] != 0 || codes["nope"] != int16(protocol.UnknownTopicOrPartition) || codes["twice"] != int16(protocol.InvalidRequest) {
			t.Errorf("v%d: %v", version, codes)
		}
		if topic, _ = c.loader.Image().TopicByName(name); len(topic.Partitions) != 3 || topic.Partitions[2].Leader != 3 {
			t.Errorf("v%d: %+v", version, topic)
		}
		if waited := c.replicas.waited; len(waited) == 0 || waited[len(waited)-1] != topic.ID {
			t.Errorf("v%d: did not wait for the partitions to be served", version)
		}
	}
}

func TestCreatePartitionsRefusals(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("x", 2, 1)
	for count, want := range map[int32]protocol.ErrorCode{
		2: protocol.InvalidPartitions, 1: protocol.InvalidPartitions, -1: protocol.InvalidPartitions, 20_000: protocol.PolicyViolation,
	} {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "x", Count: count}}
		if answer := c.call(req).(*kmsg.CreatePartitionsResponse).Topics[0]; answer.ErrorCode != int16(want) || answer.ErrorMessage == nil {
			t.Errorf("%d partitions: %+v", count, answer)
		}
	}
}
