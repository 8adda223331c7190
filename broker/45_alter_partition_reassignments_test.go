package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// gone reports whether a broker is not registered.
func gone(id int32) func(*metadata.Image) bool {
	return func(m *metadata.Image) bool { _, live := m.Brokers[id]; return !live }
}

func reassignment(version int16, topic string, partition int32, replicas []int32) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Version = version
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
		Topic: topic, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}},
	}}
	return req
}

func TestReassignmentsBeginAreListedAndCancelled(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for version := range int16(2) {
		name := "t" + string('0'+rune(version))
		topic := c.topic(name, 1, 1)
		from := topic.Partitions[0].Leader
		to := from%3 + 1
		resp := c.call(reassignment(version, name, 0, []int32{to, from%3 + 1})).(*kmsg.AlterPartitionAssignmentsResponse)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != int16(protocol.InvalidReplicaAssignment) || p.ErrorMessage == nil {
			t.Errorf("v%d: twice the same replica: %+v", version, p)
		}
		resp = c.call(reassignment(version, name, 0, []int32{to})).(*kmsg.AlterPartitionAssignmentsResponse)
		if p := resp.Topics[0].Partitions[0]; resp.ErrorCode != 0 || p.ErrorCode != 0 || p.ErrorMessage != nil || resp.Topics[0].Topic != name {
			t.Fatalf("v%d: %+v", version, resp)
		}
		for _, named := range []bool{true, false} {
			list := kmsg.NewPtrListPartitionReassignmentsRequest()
			if named {
				list.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "nope", Partitions: []int32{0}}, {Topic: name, Partitions: []int32{1, 0}}}
			}
			listed := c.call(list).(*kmsg.ListPartitionReassignmentsResponse)
			if len(listed.Topics) != 1 || listed.Topics[0].Topic != name || len(listed.Topics[0].Partitions) != 1 {
				t.Fatalf("v%d: listed %+v", version, listed)
			}
			if p := listed.Topics[0].Partitions[0]; p.Partition != 0 || len(p.Replicas) != 2 || len(p.AddingReplicas) != 1 || p.AddingReplicas[0] != to || len(p.RemovingReplicas) != 1 || p.RemovingReplicas[0] != from {
				t.Errorf("v%d: listed %+v", version, p)
			}
		}
		for _, want := range []protocol.ErrorCode{protocol.None, protocol.NoReassignmentInProgress} {
			resp = c.call(reassignment(version, name, 0, nil)).(*kmsg.AlterPartitionAssignmentsResponse)
			if p := resp.Topics[0].Partitions[0]; p.ErrorCode != int16(want) {
				t.Errorf("v%d: cancelled: %+v, want %s", version, p, want)
			}
		}
		list := kmsg.NewPtrListPartitionReassignmentsRequest()
		if listed := c.call(list).(*kmsg.ListPartitionReassignmentsResponse); listed.ErrorCode != 0 || len(listed.Topics) != 0 {
			t.Errorf("v%d: listed %+v", version, listed)
		}
	}
}

func TestReassignmentRefusals(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	c.topic("a", 1, 1)
	fixed := reassignment(1, "a", 0, []int32{1, 2})
	fixed.AllowReplicationFactorChange = false
	for name, r := range map[string]struct {
		req  *kmsg.AlterPartitionAssignmentsRequest
		want protocol.ErrorCode
	}{
		"no such topic":     {reassignment(0, "b", 0, []int32{1}), protocol.UnknownTopicOrPartition},
		"no such partition": {reassignment(0, "a", 1, []int32{1}), protocol.UnknownTopicOrPartition},
		"no such broker":    {reassignment(0, "a", 0, []int32{3}), protocol.InvalidReplicaAssignment},
		"no replicas":       {reassignment(0, "a", 0, []int32{}), protocol.InvalidReplicaAssignment},
		"another factor":    {fixed, protocol.InvalidReplicationFactor},
	} {
		resp := c.call(r.req).(*kmsg.AlterPartitionAssignmentsResponse)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != int16(r.want) || p.ErrorMessage == nil {
			t.Errorf("%s: %+v", name, p)
		}
		if resp.AllowReplicationFactorChange != (r.req != fixed) {
			t.Errorf("%s: %+v", name, resp)
		}
	}
}
