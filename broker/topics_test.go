package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestUnsetReplicationFactorFollowsTheBrokers(t *testing.T) {
	for brokers, want := range map[int]int{1: 1, 2: 2, 3: 3, 5: 3} {
		c := newTestCluster(t, brokers, nil)
		if brokers == 3 { // the dead one counts
			c.stop(c.register(3))
		}
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "created", NumPartitions: 1, ReplicationFactor: -1}}
		c.call(req)
		c.call(metadataRequest(12, "automatic"))
		c.coordinators(findCoordinator(4, 0, "g"))
		for _, name := range []string{"created", "automatic", offsetsTopic} {
			topic, ok := c.loader.Image().TopicByName(name)
			if !ok || len(topic.Partitions[0].Replicas) != want {
				t.Errorf("%d brokers: %s is %+v, want %d replicas", brokers, name, topic, want)
			}
		}
	}
}

func TestReplicationFactorThatIsSetIsKeptTo(t *testing.T) {
	c := newTestCluster(t, 2, map[string]string{"default.replication.factor": "1", "offsets.topic.replication.factor": "3"})
	c.call(metadataRequest(12, "automatic"))
	if topic, ok := c.loader.Image().TopicByName("automatic"); !ok || len(topic.Partitions[0].Replicas) != 1 {
		t.Errorf("%+v", topic)
	}
	if answers := c.coordinators(findCoordinator(4, 0, "g")); answers[0].ErrorCode != int16(protocol.CoordinatorNotAvailable) {
		t.Errorf("three replicas on two brokers: %+v", answers)
	}
}
