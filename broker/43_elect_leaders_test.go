package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestElectLeadersInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	c.topic("a", 2, 2)
	for version := range int16(3) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version = version
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "a", Partitions: []int32{1, 7}}, {Topic: "b", Partitions: []int32{0}}}
		resp := c.call(req).(*kmsg.ElectLeadersResponse)
		if resp.ErrorCode != 0 || len(resp.Topics) != 2 || resp.Topics[0].Topic != "a" || len(resp.Topics[0].Partitions) != 2 || resp.Topics[1].Topic != "b" {
			t.Fatalf("v%d: %+v", version, resp)
		}
		want := []protocol.ErrorCode{protocol.ElectionNotNeeded, protocol.UnknownTopicOrPartition, protocol.UnknownTopicOrPartition}
		for i, p := range append(resp.Topics[0].Partitions, resp.Topics[1].Partitions...) {
			if p.ErrorCode != int16(want[i]) || p.ErrorMessage == nil || p.Partition != []int32{1, 7, 0}[i] {
				t.Errorf("v%d: %+v, want %s", version, p, want[i])
			}
		}
		req.Topics = nil
		if resp = c.call(req).(*kmsg.ElectLeadersResponse); len(resp.Topics) != 0 {
			t.Errorf("v%d: of all: %+v", version, resp)
		}
	}
}

func TestElectLeadersOfDeadReplicas(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	two := c.register(2)
	topic := c.topic("a", 2, 1) // each leads one
	led := int32(0)
	if topic.Partitions[1].Leader == 2 {
		led = 1
	}
	c.stop(two)
	for kind, want := range map[int8]protocol.ErrorCode{0: protocol.PreferredLeaderNotAvailable, 1: protocol.EligibleLeadersNotAvailable} {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType = 2, kind
		resp := c.call(req).(*kmsg.ElectLeadersResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != led || resp.Topics[0].Partitions[0].ErrorCode != int16(want) {
			t.Errorf("type %d: %+v", kind, resp)
		}
	}
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType = 1, 2
	if resp := c.call(req).(*kmsg.ElectLeadersResponse); resp.ErrorCode != int16(protocol.InvalidRequest) {
		t.Errorf("type 2: %+v", resp)
	}
}
