package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestOldProduceIsRefusedPartitionByPartition(t *testing.T) {
	for version := range int16(3) {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks = version, 1
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: "x", Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 0}, {Partition: 3}}}}
		resp := refuseProduce(req).(*kmsg.ProduceResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 2 || resp.Topics[0].Partitions[1].Partition != 3 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		for _, p := range resp.Topics[0].Partitions {
			if p.ErrorCode != int16(protocol.UnsupportedVersion) || p.BaseOffset != -1 {
				t.Errorf("v%d: %+v", version, p)
			}
		}
		req.Acks = 0
		if resp := refuseProduce(req); resp != nil {
			t.Errorf("v%d acks=0: %+v", version, resp)
		}
	}
}
