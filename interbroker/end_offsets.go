package interbroker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// listOffsetsVersion is the first version with flexible headers.
const listOffsetsVersion = 6

// EndOffsets asks a broker for the high watermarks of partitions that it leads, over a connection
// of its own. The result omits partitions that the broker does not lead, or whose high watermark it
// does not know yet.
func (d Dialer) EndOffsets(ctx context.Context, leader metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = listOffsetsVersion, -1
	topics := topicPlaces{}
	for _, tp := range tps {
		at, added := topics.of(tp.Topic, len(req.Topics))
		if added {
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = tp.Partition, replication.LatestTimestamp
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
	}
	answer, err := d.ask(ctx, leader, req, "list offsets of")
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.ListOffsetsResponse)
	ends := make(map[metadata.TopicPartition]int64, len(tps))
	for i := range resp.Topics {
		for _, p := range resp.Topics[i].Partitions {
			if protocol.ErrorCode(p.ErrorCode) == protocol.None {
				ends[metadata.TopicPartition{Topic: resp.Topics[i].Topic, Partition: p.Partition}] = p.Offset
			}
		}
	}
	return ends, nil
}
