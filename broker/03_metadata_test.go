package broker

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
)

func metadataRequest(version int16, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = version, true
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	return req
}

func metadataNames(resp *kmsg.MetadataResponse) []string {
	names := make([]string, 0, len(resp.Topics))
	for _, t := range resp.Topics {
		names = append(names, shown(t.Topic))
	}
	return names
}

func TestMetadataOfAllTopicsInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	topic := c.topic("a", 2, 3)
	c.topic("__consumer_offsets", 1, 1)
	for version := range int16(14) {
		req := metadataRequest(version)
		if version > 0 {
			req.Topics = nil
		}
		resp := c.call(req).(*kmsg.MetadataResponse)
		if len(resp.Brokers) != 3 || resp.Brokers[1].NodeID != 2 || resp.Brokers[1].Host != "broker2" || resp.Brokers[1].Port != 9092 {
			t.Fatalf("v%d: brokers %+v", version, resp.Brokers)
		}
		if got := metadataNames(resp); !slices.Equal(got, []string{"__consumer_offsets", "a"}) {
			t.Fatalf("v%d: topics %v", version, got)
		}
		if version >= 1 && (!resp.Topics[0].IsInternal || resp.Topics[1].IsInternal || resp.ControllerID != 1 || shown(resp.Brokers[0].Rack) != "r") {
			t.Errorf("v%d: %+v", version, resp)
		}
		if version >= 2 && shown(resp.ClusterID) != c.loader.Image().ClusterID {
			t.Errorf("v%d: cluster id %s", version, shown(resp.ClusterID))
		}
		if version >= 10 && resp.Topics[1].TopicID != topic.ID {
			t.Errorf("v%d: topic id %v", version, resp.Topics[1].TopicID)
		}
		for i, p := range resp.Topics[1].Partitions {
			if p.ErrorCode != 0 || p.Partition != int32(i) || p.Leader != topic.Partitions[i].Leader || len(p.Replicas) != 3 || len(p.ISR) != 3 || len(p.OfflineReplicas) != 0 {
				t.Errorf("v%d: partition %+v", version, p)
			}
		}
		if version > 0 {
			if resp := c.call(metadataRequest(version)).(*kmsg.MetadataResponse); len(resp.Topics) != 0 {
				t.Errorf("v%d: an empty list means no topics, got %v", version, metadataNames(resp))
			}
		}
	}
}

func TestMetadataByTopicID(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	topic := c.topic("a", 1, 1)
	unknown := metadata.NewTopicID()
	ask := func(version int16) *kmsg.MetadataResponse {
		req := metadataRequest(version)
		req.Topics = []kmsg.MetadataRequestTopic{{TopicID: topic.ID}, {TopicID: unknown}}
		if version < 12 { // null names were added with v12
			req.Topics[0].Topic, req.Topics[1].Topic = new(""), new("")
		}
		return c.call(req).(*kmsg.MetadataResponse)
	}
	resp := ask(12)
	if len(resp.Topics) != 2 {
		t.Fatalf("%+v", resp.Topics)
	}
	if missing := resp.Topics[0]; missing.ErrorCode != int16(protocol.UnknownTopicID) || missing.TopicID != unknown || missing.Topic != nil {
		t.Errorf("unknown id: %+v", missing)
	}
	if found := resp.Topics[1]; found.ErrorCode != 0 || found.TopicID != topic.ID || shown(found.Topic) != "a" || len(found.Partitions) != 1 {
		t.Errorf("known id: %+v", found)
	}
	for _, answer := range ask(10).Topics {
		if answer.ErrorCode != int16(protocol.InvalidRequest) {
			t.Errorf("v10: %+v", answer)
		}
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	c := newTestCluster(t, 3, map[string]string{"num.partitions": "4", "default.replication.factor": "2"})
	resp := c.call(metadataRequest(12, "new", "new", "bad name", "__consumer_offsets")).(*kmsg.MetadataResponse)
	got := map[string]kmsg.MetadataResponseTopic{}
	for _, answer := range resp.Topics {
		got[shown(answer.Topic)] = answer
	}
	if len(resp.Topics) != 3 {
		t.Errorf("%v", metadataNames(resp))
	}
	if n := got["new"]; n.ErrorCode != 0 || len(n.Partitions) != 4 || len(n.Partitions[0].Replicas) != 2 || n.TopicID == [16]byte{} {
		t.Errorf("new: %+v", n)
	}
	if bad := got["bad name"]; bad.ErrorCode != int16(protocol.InvalidTopicException) {
		t.Errorf("bad name: %+v", bad)
	}
	if o := got["__consumer_offsets"]; o.ErrorCode != 0 || len(o.Partitions) != 50 || !o.IsInternal {
		t.Errorf("offsets topic: %+v", o)
	}
	if configs := c.loader.Image().TopicConfigs("__consumer_offsets"); configs["cleanup.policy"] != "compact" || configs["segment.bytes"] != "104857600" {
		t.Errorf("offsets topic: %v", configs)
	}
	if len(c.replicas.waited) != 2 {
		t.Errorf("waited for %v to be served", c.replicas.waited)
	}
}

func TestMetadataCreatesNothingWhenForbidden(t *testing.T) {
	for name, c := range map[string]struct {
		version int16
		allow   bool
		enabled string
	}{
		"by the client": {4, false, "true"},
		"by the broker": {4, true, "false"},
		"old client":    {3, false, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newTestCluster(t, 1, map[string]string{"auto.create.topics.enable": c.enabled})
			req := metadataRequest(c.version, "new", "bad name")
			req.AllowAutoTopicCreation = c.allow
			resp := cluster.call(req).(*kmsg.MetadataResponse)
			if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != int16(protocol.UnknownTopicOrPartition) || resp.Topics[1].ErrorCode != int16(protocol.InvalidTopicException) {
				t.Errorf("%+v", resp.Topics)
			}
			if cluster.loader.Image().TopicCount() != 0 {
				t.Error("a topic was created")
			}
		})
	}
	c := newTestCluster(t, 1, nil)
	if resp := c.call(metadataRequest(3, "new")).(*kmsg.MetadataResponse); resp.Topics[0].ErrorCode != 0 {
		t.Errorf("before v4 every client wants it: %+v", resp.Topics)
	}
}

func TestMetadataOfFailedCreation(t *testing.T) {
	c := newTestCluster(t, 1, map[string]string{"default.replication.factor": "3"})
	if resp := c.call(metadataRequest(9, "new")).(*kmsg.MetadataResponse); resp.Topics[0].ErrorCode != int16(protocol.InvalidReplicationFactor) {
		t.Errorf("too few brokers: %+v", resp.Topics)
	}
	c = newTestCluster(t, 1, nil)
	c.replicas.err = errors.Join(kv.ErrUnavailable)
	if resp := c.call(metadataRequest(9, "new")).(*kmsg.MetadataResponse); resp.Topics[0].ErrorCode != int16(protocol.UnknownTopicOrPartition) {
		t.Errorf("not served in time: %+v", resp.Topics)
	}
}

func TestMetadataOfDeadBrokers(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	two := c.register(2)
	topic := c.topic("a", 2, 2) // each leads one
	c.stop(two)
	for version := range int16(14) {
		resp := c.call(metadataRequest(version, "a")).(*kmsg.MetadataResponse)
		for i, p := range resp.Topics[0].Partitions {
			want, leader := protocol.None, int32(1)
			if version == 0 {
				want = protocol.ReplicaNotAvailable
			}
			if topic.Partitions[i].Leader == 2 {
				want, leader = protocol.LeaderNotAvailable, -1
			}
			if p.ErrorCode != int16(want) || p.Leader != leader {
				t.Errorf("v%d: %+v, want %s", version, p, want)
			}
			if version == 0 && (len(p.Replicas) != 1 || len(p.ISR) != 1) || version > 0 && len(p.Replicas) != 2 {
				t.Errorf("v%d: %+v", version, p)
			}
			if version >= 5 && !slices.Equal(p.OfflineReplicas, []int32{2}) {
				t.Errorf("v%d: offline %v", version, p.OfflineReplicas)
			}
		}
	}
}

func TestMetadataByListener(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	topic := c.topic("a", 2, 1)
	for version, missing := range map[int16]protocol.ErrorCode{5: protocol.LeaderNotAvailable, 6: protocol.ListenerNotFound} {
		resp := c.callFrom(&Request{Listener: "INTERNAL"}, metadataRequest(version, "a")).(*kmsg.MetadataResponse)
		if len(resp.Brokers) != 1 || resp.Brokers[0].Port != 9093 {
			t.Errorf("v%d: brokers %+v", version, resp.Brokers)
		}
		for i, p := range resp.Topics[0].Partitions {
			want := protocol.None
			if topic.Partitions[i].Leader == 2 {
				want = missing
			}
			if p.ErrorCode != int16(want) {
				t.Errorf("v%d: %+v, want %s", version, p, want)
			}
		}
	}
}

func TestMetadataAuthorizedOperations(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("a", 1, 1)
	req := metadataRequest(8, "a")
	resp := c.call(req).(*kmsg.MetadataResponse)
	if resp.AuthorizedOperations != -1<<31 || resp.Topics[0].AuthorizedOperations != -1<<31 {
		t.Errorf("not requested: %d, %d", resp.AuthorizedOperations, resp.Topics[0].AuthorizedOperations)
	}
	req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
	resp = c.call(req).(*kmsg.MetadataResponse)
	// Kafka's values without an authorizer
	if resp.AuthorizedOperations != 8096 || resp.Topics[0].AuthorizedOperations != 3576 {
		t.Errorf("requested: %d, %d", resp.AuthorizedOperations, resp.Topics[0].AuthorizedOperations)
	}
}
