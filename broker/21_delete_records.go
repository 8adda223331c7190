package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteRecords moves the start of partitions' logs up, over both tiers. Versions 0-2, which differ in encoding alone. Offset -1 stands
// for the high watermark. The bytes go later: local segments by retention, objects by the tier's.
//
// Not implemented: authorization. The request's time limit is not needed, since nothing here waits for replicas yet.
func (b *Broker) deleteRecords(ctx context.Context, _ *Request, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for j := range t.Partitions {
			answer := kmsg.NewDeleteRecordsResponseTopicPartition()
			answer.Partition = t.Partitions[j].Partition
			low, err := b.deleteBelow(t.Topic, answer.Partition, t.Partitions[j].Offset)
			answer.LowWatermark, answer.ErrorCode = low, b.code(ctx, err)
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (b *Broker) deleteBelow(topic string, number int32, offset int64) (lowWatermark int64, err error) {
	p, err := b.partitionByName(topic, number)
	switch {
	case err != nil:
		return -1, err
	case isInternal(topic):
		return -1, fmt.Errorf("delete records of %s: %w", topic, errInvalidTopic)
	}
	return p.DeleteRecords(offset)
}
