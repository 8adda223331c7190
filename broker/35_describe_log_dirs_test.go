package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

func TestDescribeLogDirs(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 2)
	c.topic("b", 1, "remote.storage.enable", "true")
	c.produce("a", 1, "one")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, attached := c.hosted("b", 0).TierStatus(); !attached; _, attached = c.hosted("b", 0).TierStatus() {
		<-tick.C // a leader does not wait for its tier
	}
	for version := int16(1); version <= 5; version++ {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.SetVersion(version)
		resp := c.exchange(&Request{}, req).(*kmsg.DescribeLogDirsResponse)
		if len(resp.Dirs) != 1 || resp.Dirs[0].Dir != "/data" || resp.Dirs[0].ErrorCode != 0 || len(resp.Dirs[0].Topics) != 2 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		a := resp.Dirs[0].Topics[0]
		if a.Topic != "a" || len(a.Partitions) != 2 || a.Partitions[0].Size != 0 || a.Partitions[1].Size != int64(len(batchOf(t, "one"))) {
			t.Errorf("v%d: %+v", version, a)
		}
		for i, topic := range resp.Dirs[0].Topics {
			stats, ok := protocol.ReadTierStats(&topic.Partitions[0].UnknownTags)
			if tiered := i == 1 && version >= 2; ok != tiered || tiered && stats != (protocol.TierStats{LastUpload: -1, State: "attaching"}) {
				t.Errorf("v%d, %s: tier %v, %+v", version, topic.Topic, ok, stats)
			}
		}
		rt := kmsg.NewDescribeLogDirsRequestTopic()
		rt.Topic, rt.Partitions = "a", []int32{1, 7}
		req.Topics = append(req.Topics, rt)
		resp = c.exchange(&Request{}, req).(*kmsg.DescribeLogDirsResponse)
		if topics := resp.Dirs[0].Topics; len(topics) != 1 || len(topics[0].Partitions) != 1 || topics[0].Partitions[0].Partition != 1 {
			t.Errorf("v%d, one partition: %+v", version, topics)
		}
	}
}
