package broker

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
)

// heardGroups is a coordinator that agrees to everything and records the requests.
type heardGroups struct {
	partition int32
	client    groups.ClientInfo
	committed *kmsg.OffsetCommitRequest
	fetched   *kmsg.OffsetFetchRequest
	fetch     kmsg.OffsetFetchResponse
	calls     []string
}

func (h *heardGroups) PartitionFor(string) int32 { return h.partition }

func (h *heardGroups) JoinGroup(_ context.Context, req *kmsg.JoinGroupRequest, client groups.ClientInfo) *kmsg.JoinGroupResponse {
	h.client = client
	return heard[*kmsg.JoinGroupResponse](h, req)
}

func (h *heardGroups) SyncGroup(_ context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	return heard[*kmsg.SyncGroupResponse](h, req)
}

func (h *heardGroups) Heartbeat(_ context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	return heard[*kmsg.HeartbeatResponse](h, req)
}

func (h *heardGroups) LeaveGroup(_ context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	return heard[*kmsg.LeaveGroupResponse](h, req)
}

func (h *heardGroups) DescribeGroups(_ context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := heard[*kmsg.DescribeGroupsResponse](h, req)
	for _, name := range req.Groups {
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group = name
		if name == "missing" {
			g.ErrorCode = int16(protocol.GroupIDNotFound)
		}
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}

func (h *heardGroups) ListGroups(_ context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	return heard[*kmsg.ListGroupsResponse](h, req)
}

func (h *heardGroups) DeleteGroups(_ context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	return heard[*kmsg.DeleteGroupsResponse](h, req)
}

func (h *heardGroups) OffsetCommit(_ context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	h.committed = req
	resp := heard[*kmsg.OffsetCommitResponse](h, req)
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition = p.Partition
			if p.Offset < 0 {
				partition.ErrorCode = int16(protocol.InvalidCommitOffsetSize)
			}
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (h *heardGroups) OffsetFetch(_ context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	h.fetched = req
	resp := heard[*kmsg.OffsetFetchResponse](h, req)
	resp.Groups = h.fetch.Groups
	return resp
}

func heard[R kmsg.Response](h *heardGroups, req kmsg.Request) R {
	h.calls = append(h.calls, protocol.APIName(req.Key()))
	return req.ResponseKind().(R)
}

func TestGroupRequestsReachTheCoordinator(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for _, key := range []int16{11, 12, 13, 14, 15, 16, 42} {
		for version := int16(0); version <= c.apis[key].max; version++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			c.groups.calls = nil
			c.call(req)
			if len(c.groups.calls) != 1 || c.groups.calls[0] != protocol.APIName(key) {
				t.Errorf("%s v%d: calls %v", protocol.APIName(key), version, c.groups.calls)
			}
		}
	}
	if c.groups.client != (groups.ClientInfo{ID: "client", Host: "/10.0.0.9"}) {
		t.Errorf("client %+v", c.groups.client)
	}
}

func TestDescribeGroupsOperations(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for include, want := range map[bool]int32{false: -1 << 31, true: 3400} {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups, req.IncludeAuthorizedOperations = 6, []string{"g", "missing"}, include
		resp := c.call(req).(*kmsg.DescribeGroupsResponse)
		if resp.Groups[0].AuthorizedOperations != want || resp.Groups[1].AuthorizedOperations != -1<<31 {
			t.Errorf("%v: %+v", include, resp.Groups)
		}
	}
}

func findCoordinator(version int16, keyType int8, keys ...string) *kmsg.FindCoordinatorRequest {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorType, req.CoordinatorKeys, req.CoordinatorKey = version, keyType, keys, keys[0]
	return req
}

// coordinators returns the answers of any version in the form of the newest.
func (c *testCluster) coordinators(req *kmsg.FindCoordinatorRequest) []kmsg.FindCoordinatorResponseCoordinator {
	c.t.Helper()
	resp := c.call(req).(*kmsg.FindCoordinatorResponse)
	if req.Version >= 4 {
		return resp.Coordinators
	}
	return []kmsg.FindCoordinatorResponseCoordinator{{
		Key: req.CoordinatorKey, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port, ErrorCode: resp.ErrorCode, ErrorMessage: resp.ErrorMessage,
	}}
}

func TestFindCoordinatorInEveryVersion(t *testing.T) {
	for version := range int16(7) {
		c := newTestCluster(t, 2, map[string]string{"offsets.topic.num.partitions": "3"})
		c.groups.partition = 2
		keys := []string{"g"}
		if version >= 4 {
			keys = append(keys, "h")
		}
		answers := c.coordinators(findCoordinator(version, 0, keys...))
		topic, ok := c.loader.Image().TopicByName("__consumer_offsets")
		// as many replicas as brokers
		if !ok || len(topic.Partitions) != 3 || len(topic.Partitions[0].Replicas) != 2 {
			t.Fatalf("v%d: %+v", version, topic)
		}
		if len(c.replicas.waited) != 1 {
			t.Errorf("v%d: did not wait for the topic", version)
		}
		leader := topic.Partitions[2].Leader
		if len(answers) != len(keys) {
			t.Fatalf("v%d: %+v", version, answers)
		}
		for i, a := range answers {
			if a.ErrorCode != 0 || a.Key != keys[i] || a.NodeID != leader || a.Host != "broker"+string('0'+leader) || a.Port != 9092 {
				t.Errorf("v%d: %+v", version, a)
			}
		}
		c.coordinators(findCoordinator(version, 0, "again"))
	}
}

func TestFindCoordinatorRefusals(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for keyType, text := range map[int8]string{
		1: "transactions are not supported yet: invalid request", 2: "share groups are not supported yet: invalid request", 9: "coordinator key type 9: invalid request",
	} {
		a := c.coordinators(findCoordinator(6, keyType, "k"))[0]
		if a.ErrorCode != int16(protocol.InvalidRequest) || shown(a.ErrorMessage) != text || a.NodeID != -1 || a.Port != -1 {
			t.Errorf("%d: %+v %s", keyType, a, shown(a.ErrorMessage))
		}
	}
	if c.loader.Image().TopicCount() != 0 {
		t.Error("a topic was created")
	}
	c.groups.partition = 50 // of 0 to 49
	if a := c.coordinators(findCoordinator(6, 0, "g"))[0]; a.ErrorCode != int16(protocol.CoordinatorNotAvailable) {
		t.Errorf("no such partition: %+v", a)
	}
	c.groups.partition = 0
	r := &Request{Listener: "OTHER"}
	if resp := c.callFrom(r, findCoordinator(3, 0, "g")).(*kmsg.FindCoordinatorResponse); resp.ErrorCode != int16(protocol.CoordinatorNotAvailable) {
		t.Errorf("no such listener: %+v", resp)
	}
}

func TestFindCoordinatorBeforeTheTopicIsServed(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.replicas.err = kv.ErrUnavailable
	if a := c.coordinators(findCoordinator(6, 0, "g"))[0]; a.ErrorCode != int16(protocol.CoordinatorNotAvailable) {
		t.Errorf("%+v, %s", a, shown(a.ErrorMessage))
	}
}

func TestFindCoordinatorOfADeadLeader(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	two := c.register(2)
	topic := c.topic("__consumer_offsets", 2, 1)
	for i := range topic.Partitions {
		if topic.Partitions[i].Leader == 2 {
			c.groups.partition = int32(i)
		}
	}
	c.stop(two)
	if a := c.coordinators(findCoordinator(6, 0, "g"))[0]; a.ErrorCode != int16(protocol.CoordinatorNotAvailable) {
		t.Errorf("%+v, %s", a, shown(a.ErrorMessage))
	}
}

func TestOffsetCommitInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	topic := c.topic("x", 2, 1)
	for version := int16(2); version <= 10; version++ {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group = version, "g"
		unknown := metadata.NewTopicID()
		req.Topics = []kmsg.OffsetCommitRequestTopic{
			{Topic: "nope", TopicID: unknown, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 0, Offset: 1}}},
			{Topic: "x", TopicID: topic.ID, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 1, Offset: 5}, {Partition: 2, Offset: 6}, {Partition: 0, Offset: -3}}},
		}
		resp := c.call(req).(*kmsg.OffsetCommitResponse)
		missing := protocol.UnknownTopicOrPartition
		if version >= 10 {
			missing = protocol.UnknownTopicID
		}
		var got []protocol.ErrorCode
		for _, answer := range resp.Topics {
			for _, p := range answer.Partitions {
				got = append(got, protocol.ErrorCode(p.ErrorCode))
			}
		}
		want := []protocol.ErrorCode{missing, protocol.None, protocol.UnknownTopicOrPartition, protocol.InvalidCommitOffsetSize}
		if len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
			t.Errorf("v%d: %v, want %v", version, got, want)
		}
		if version >= 10 && (resp.Topics[0].TopicID != unknown || resp.Topics[1].TopicID != topic.ID) {
			t.Errorf("v%d: ids %+v", version, resp.Topics)
		}
		if version < 10 && resp.Topics[1].Topic != "x" {
			t.Errorf("v%d: names %+v", version, resp.Topics)
		}
		// The coordinator gets names, and only topics that exist.
		if heard := c.groups.committed; len(heard.Topics) != 1 || heard.Topics[0].Topic != "x" || len(heard.Topics[0].Partitions) != 2 || heard.Group != "g" {
			t.Errorf("v%d: the coordinator was asked %+v", version, heard)
		}
	}
}

func TestOffsetFetchByName(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for version := int16(1); version < 10; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group = version, "g"
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
		c.call(req)
		if heard := c.groups.fetched; heard.Version != version || version < 8 && heard.Group != "g" || version >= 8 && heard.Groups[0].Group != "g" {
			t.Errorf("v%d: the coordinator was asked %+v", version, heard)
		}
	}
}

func TestOffsetFetchByTopicID(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	topic := c.topic("x", 2, 1)
	unknown := metadata.NewTopicID()
	partition := kmsg.OffsetFetchResponseGroupTopicPartition{Partition: 1, Offset: 42, LeaderEpoch: -1}
	c.groups.fetch.Groups = []kmsg.OffsetFetchResponseGroup{
		{Group: "g", Topics: []kmsg.OffsetFetchResponseGroupTopic{{Topic: "x", Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{partition}}}},
		{Group: "all", Topics: []kmsg.OffsetFetchResponseGroupTopic{
			{Topic: "deleted", Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{partition}},
			{Topic: "x", Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{partition}},
		}},
		{Group: "failed", ErrorCode: int16(protocol.NotCoordinator)},
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 10
	wanted := []kmsg.OffsetFetchRequestGroupTopic{{TopicID: unknown, Partitions: []int32{0, 3}}, {TopicID: topic.ID, Partitions: []int32{1}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: wanted}, {Group: "all"}, {Group: "failed", Topics: wanted}}
	resp := c.call(req).(*kmsg.OffsetFetchResponse)
	heard := c.groups.fetched.Groups
	if len(heard[0].Topics) != 1 || heard[0].Topics[0].Topic != "x" || heard[1].Topics != nil {
		t.Errorf("the coordinator was asked %+v", heard)
	}
	g := resp.Groups[0]
	if len(g.Topics) != 2 || g.Topics[0].TopicID != topic.ID || g.Topics[0].Partitions[0].Offset != 42 {
		t.Errorf("known: %+v", g)
	}
	if u := g.Topics[1]; u.TopicID != unknown || len(u.Partitions) != 2 || u.Partitions[1].Partition != 3 || u.Partitions[1].ErrorCode != int16(protocol.UnknownTopicID) || u.Partitions[1].Offset != -1 {
		t.Errorf("unknown: %+v", u)
	}
	if all := resp.Groups[1]; len(all.Topics) != 1 || all.Topics[0].TopicID != topic.ID {
		t.Errorf("all: %+v", all)
	}
	if failed := resp.Groups[2]; len(failed.Topics) != 0 || failed.ErrorCode != int16(protocol.NotCoordinator) {
		t.Errorf("failed: %+v", failed)
	}
}
