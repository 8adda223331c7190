package broker

import (
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

func TestOffsetForLeaderEpoch(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1)
	c.produce("a", 0, "one", "two")
	for version := int16(2); version <= 4; version++ {
		ask := func(topic string, epoch, current, replica int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.SetVersion(version)
			req.ReplicaID = replica
			rt, p := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			rt.Topic, p.LeaderEpoch, p.CurrentLeaderEpoch = topic, epoch, current
			rt.Partitions = append(rt.Partitions, p)
			req.Topics = append(req.Topics, rt)
			return c.exchange(&Request{}, req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		}
		if got := ask("a", 0, -1, -1); got.ErrorCode != 0 || got.LeaderEpoch != 0 || got.EndOffset != 2 {
			t.Errorf("v%d: %+v", version, got)
		}
		if got := ask("a", 3, 0, -1); got.ErrorCode != 0 || got.LeaderEpoch != -1 || got.EndOffset != -1 {
			t.Errorf("v%d, epoch to come: %+v", version, got)
		}
		if got := ask("a", 0, 3, -1); got.ErrorCode != int16(protocol.UnknownLeaderEpoch) || got.EndOffset != -1 {
			t.Errorf("v%d, current epoch to come: %+v", version, got)
		}
		if got := ask("b", 0, -1, -1); got.ErrorCode != int16(protocol.UnknownTopicOrPartition) || got.EndOffset != -1 {
			t.Errorf("v%d, unknown topic: %+v", version, got)
		}
		if version >= 3 {
			if got := ask("a", math.MaxInt32, -1, debuggingConsumer); got.ErrorCode != 0 || got.LeaderEpoch != 0 || got.EndOffset != 2 {
				t.Errorf("v%d, the end of any replica's log: %+v", version, got)
			}
			if got := ask("a", 0, -1, 2); got.ErrorCode != int16(protocol.NotLeaderOrFollower) {
				t.Errorf("v%d, by a replica: %+v", version, got)
			}
		}
	}
}
