package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/replication"
)

// DeleteRecords raises the log start offset of partitions, over both tiers. Versions 0-2, which
// differ in encoding alone. Offset -1 means the high watermark. A partition is answered after all
// of its live replicas have deleted the records, or with REQUEST_TIMED_OUT. The bytes are deleted
// later: local segments by retention, objects by the tier's retention.
//
// Not implemented: authorization.
func (b *Broker) deleteRecords(ctx context.Context, _ *Request, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	var deletions []replication.Deleted
	type place struct{ topic, partition int }
	var places []place // index in the response of each deletion
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewDeleteRecordsResponseTopic()
		topic.Topic = t.Topic
		for j := range t.Partitions {
			answer := kmsg.NewDeleteRecordsResponseTopicPartition()
			answer.Partition, answer.LowWatermark = t.Partitions[j].Partition, -1
			d, err := b.deleteBelow(t.Topic, answer.Partition, t.Partitions[j].Offset)
			if err == nil {
				deletions, places = append(deletions, d), append(places, place{i, j})
			}
			answer.ErrorCode = b.code(ctx, err)
			topic.Partitions = append(topic.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond, context.DeadlineExceeded)
	defer cancel()
	b.partitions.WaitDeleted(ctx, deletions, func(i int, low int64, err error) {
		answer := &resp.Topics[places[i].topic].Partitions[places[i].partition]
		answer.LowWatermark, answer.ErrorCode = low, b.code(ctx, err)
	})
	return resp
}

func (b *Broker) deleteBelow(topic string, number int32, offset int64) (replication.Deleted, error) {
	p, err := b.partitionByName(topic, number)
	switch {
	case err != nil:
		return replication.Deleted{}, err
	case isInternal(topic):
		return replication.Deleted{}, fmt.Errorf("delete records of %s: %w", topic, errInvalidTopic)
	}
	return p.DeleteRecords(offset)
}
