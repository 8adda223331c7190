package interbroker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// listOffsetsVersion is the first with flexible headers.
const listOffsetsVersion = 6

// EndOffsets asks a broker for the high watermarks of partitions that it leads, over a connection of its own. Partitions that it does not lead,
// or whose high watermark it does not know yet, are not in the answer.
func (d Dialer) EndOffsets(ctx context.Context, leader metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]int64, error) {
	c := &Conn{dialer: d, broker: leader, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}
	defer c.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = listOffsetsVersion, -1
	topics := map[string]int{}
	for _, tp := range tps {
		at, ok := topics[tp.Topic]
		if !ok {
			at = len(req.Topics)
			topics[tp.Topic] = at
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = tp.Partition, replication.LatestTimestamp
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
	}
	body, err := c.exchange(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	if err = resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("list offsets of broker %d: read the answer: %w", leader.ID, err)
	}
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
