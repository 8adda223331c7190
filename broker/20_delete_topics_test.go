package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

func TestDeleteTopicsByNameInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for version := int16(1); version <= 6; version++ {
		topic := c.topic("x", 1, 1)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames = version, []string{"x", "nope"}
		req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: new("x")}, {Topic: new("nope")}}
		answers := c.call(req).(*kmsg.DeleteTopicsResponse).Topics
		if len(answers) != 2 || answers[0].ErrorCode != 0 || shown(answers[0].Topic) != "x" {
			t.Fatalf("v%d: %+v", version, answers)
		}
		if version >= 6 && answers[0].TopicID != topic.ID {
			t.Errorf("v%d: topic id %v", version, answers[0].TopicID)
		}
		if answers[1].ErrorCode != int16(protocol.UnknownTopicOrPartition) || shown(answers[1].Topic) != "nope" {
			t.Errorf("v%d: %+v", version, answers[1])
		}
		if c.loader.Image().TopicCount() != 0 {
			t.Fatalf("v%d: the topic is still there", version)
		}
	}
}

func TestDeleteTopicsByID(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	topic, other := c.topic("x", 1, 1), c.topic("y", 1, 1)
	unknown := metadata.NewTopicID()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	req.Topics = []kmsg.DeleteTopicsRequestTopic{
		{TopicID: topic.ID}, {TopicID: unknown}, {}, {Topic: new("x"), TopicID: unknown}, {Topic: new("y")}, {TopicID: other.ID},
	}
	answers := c.call(req).(*kmsg.DeleteTopicsResponse).Topics
	want := []protocol.ErrorCode{protocol.None, protocol.UnknownTopicID, protocol.InvalidRequest, protocol.InvalidRequest, protocol.InvalidRequest, protocol.InvalidRequest}
	for i, answer := range answers {
		if answer.ErrorCode != int16(want[i]) {
			t.Errorf("%d: %+v, %s", i, answer, shown(answer.ErrorMessage))
		}
	}
	if shown(answers[0].Topic) != "x" || answers[1].Topic != nil {
		t.Errorf("names %s, %s", shown(answers[0].Topic), shown(answers[1].Topic))
	}
	if _, ok := c.loader.Image().TopicByName("y"); !ok {
		t.Error("a topic that was named twice is gone")
	}
}

func TestDeleteTopicsDisabled(t *testing.T) {
	c := newTestCluster(t, 1, map[string]string{"delete.topic.enable": "false"})
	c.topic("x", 1, 1)
	for version, want := range map[int16]protocol.ErrorCode{2: protocol.InvalidRequest, 3: protocol.TopicDeletionDisabled, 6: protocol.TopicDeletionDisabled} {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames, req.Topics = version, []string{"x"}, []kmsg.DeleteTopicsRequestTopic{{Topic: new("x")}}
		if answer := c.call(req).(*kmsg.DeleteTopicsResponse).Topics[0]; answer.ErrorCode != int16(want) {
			t.Errorf("v%d: %+v", version, answer)
		}
	}
	if c.loader.Image().TopicCount() != 1 {
		t.Error("the topic is gone")
	}
}
