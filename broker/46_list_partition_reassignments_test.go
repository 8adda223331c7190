package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestNoTopicsAreNotAll: an empty list of topics means none; null means all.
func TestNoTopicsAreNotAll(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	from := c.topic("a", 1, 1).Partitions[0].Leader
	c.call(reassignment(0, "a", 0, []int32{3 - from}))
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{}
	if resp := c.call(req).(*kmsg.ListPartitionReassignmentsResponse); len(resp.Topics) != 0 {
		t.Errorf("of none: %+v", resp)
	}
	req.Topics = nil
	if resp := c.call(req).(*kmsg.ListPartitionReassignmentsResponse); len(resp.Topics) != 1 {
		t.Errorf("of all: %+v", resp)
	}
}
