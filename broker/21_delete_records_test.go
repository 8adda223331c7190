package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

func TestDeleteRecords(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 4)
	c.topic("compact", 1, "cleanup.policy", "compact")
	c.topic(offsetsTopic, 1)
	for p := range int32(4) {
		c.produce("a", p, "one", "two", "three")
	}
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.SetVersion(version)
		add := func(topic string, offsets ...int64) {
			rt := kmsg.NewDeleteRecordsRequestTopic()
			rt.Topic = topic
			for i, o := range offsets {
				p := kmsg.NewDeleteRecordsRequestTopicPartition()
				p.Partition, p.Offset = int32(i), o
				rt.Partitions = append(rt.Partitions, p)
			}
			req.Topics = append(req.Topics, rt)
		}
		add("a", 2, -1, 4, -2)
		add("compact", 0)
		add(offsetsTopic, 0)
		add("nowhere", 0)
		resp := c.exchange(&Request{}, req).(*kmsg.DeleteRecordsResponse)
		type outcome struct {
			low  int64
			code protocol.ErrorCode
		}
		want := []outcome{
			{2, protocol.None},
			{3, protocol.None},
			{-1, protocol.OffsetOutOfRange},
			{-1, protocol.OffsetOutOfRange},
			{-1, protocol.PolicyViolation},
			{-1, protocol.InvalidTopicException},
			{-1, protocol.UnknownTopicOrPartition},
		}
		i := 0
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if got := (outcome{p.LowWatermark, protocol.ErrorCode(p.ErrorCode)}); got != want[i] {
					t.Errorf("v%d, %s-%d: %+v, want %+v", version, topic.Topic, p.Partition, got, want[i])
				}
				i++
			}
		}
	}
	if got := c.list(listRequest(11, "a", -2, -2)); got[0].Offset != 2 || got[1].Offset != 3 {
		t.Errorf("earliest afterwards: %+v", got)
	}
}
