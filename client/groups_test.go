package client

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeGroups answers for the group g, which has one member and has read 7 of the records of
// partition 0. Any other group is dead.
func describeGroups(r kmsg.Request) kmsg.Response {
	request, ok := r.(*kmsg.DescribeGroupsRequest)
	if !ok {
		return nil
	}
	response := kmsg.NewPtrDescribeGroupsResponse()
	for _, name := range request.Groups {
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.State, g.ProtocolType = name, "Dead", "consumer"
		if name == "g" {
			assignment := kmsg.NewConsumerMemberAssignment()
			assignment.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "a", Partitions: []int32{0}}}
			metadata := kmsg.NewConsumerMemberMetadata()
			metadata.Topics = []string{"a"}
			m := kmsg.NewDescribeGroupsResponseGroupMember()
			m.MemberID, m.ClientHost = "m-1", "/10.0.0.1"
			m.MemberAssignment, m.ProtocolMetadata = assignment.AppendTo(nil), metadata.AppendTo(nil)
			g.State, g.Protocol, g.Members = "Stable", "range", append(g.Members, m)
		}
		response.Groups = append(response.Groups, g)
	}
	return response
}

func groupAnswers(f **fakeBroker) []func(kmsg.Request) kmsg.Response {
	coordinator := func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.FindCoordinatorRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrFindCoordinatorResponse()
		if *f == nil {
			return response // only asked whether it answers at all
		}
		meta := (*f).metadata(kmsg.NewPtrMetadataRequest(), nil).(*kmsg.MetadataResponse).Brokers[0]
		for _, key := range request.CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Host, c.Port = key, meta.NodeID, meta.Host, meta.Port
			response.Coordinators = append(response.Coordinators, c)
		}
		return response
	}
	offsets := func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.OffsetFetchRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrOffsetFetchResponse()
		for _, group := range request.Groups {
			g := kmsg.NewOffsetFetchResponseGroup()
			g.Group = group.Group
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic, topic.TopicID = "a", topicID("a")
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset = 0, 7
			topic.Partitions = append(topic.Partitions, p)
			g.Topics = append(g.Topics, topic)
			response.Groups = append(response.Groups, g)
		}
		return response
	}
	return []func(kmsg.Request) kmsg.Response{describeGroups, coordinator, offsets, listOffsets(map[int64]int64{-1: 10, -2: 0}, nil)}
}

func TestDescribeGroups(t *testing.T) {
	var f *fakeBroker
	answers := groupAnswers(&f)
	f = newFakeBroker(t, map[string]int{"a": 1}, answers...)
	groups, err := connect(t, f.addr).DescribeGroups(t.Context(), "g", "gone")
	if err == nil || !strings.Contains(err.Error(), "group gone: it does not exist") {
		t.Errorf("of a group that is not there: %v", err)
	}
	if len(groups) != 1 || len(groups[0].Partitions) != 1 || len(groups[0].Members) != 1 {
		t.Fatalf("got %+v", groups)
	}
	g, p := groups[0], groups[0].Partitions[0]
	if g.Name != "g" || g.State != "Stable" || g.Coordinator != 1 || g.Members[0].Host != "10.0.0.1" {
		t.Errorf("group: %+v", g)
	}
	if p.Topic != "a" || p.Committed != 7 || p.End != 10 || p.Lag != 3 || p.Member == nil || p.Member.ID != "m-1" || p.Err != nil {
		t.Errorf("partition: %+v", p)
	}
}

func TestDescribeGroupsOfNoneAsksNothing(t *testing.T) {
	if groups, err := connect(t, "127.0.0.1:1").DescribeGroups(t.Context()); err != nil || groups != nil {
		t.Errorf("got %v, %v", groups, err)
	}
}
