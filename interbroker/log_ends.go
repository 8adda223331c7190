package interbroker

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

const (
	// epochVersion is the first version of OffsetForLeaderEpoch with flexible headers.
	epochVersion = 4
	// debuggingConsumer is the replica id that every replica answers from its own log.
	debuggingConsumer = -2
)

// LogEnds asks a broker for the ends of its logs of partitions, whichever broker leads them, over a
// connection of its own. The result omits partitions that the broker does not have, or whose log is
// offline. It is a metadata.AskLogEnds.
func (d Dialer) LogEnds(ctx context.Context, broker metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]metadata.LogEnd, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version, req.ReplicaID = epochVersion, debuggingConsumer
	topics := topicPlaces{}
	for _, tp := range tps {
		at, added := topics.of(tp.Topic, len(req.Topics))
		if added {
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.LeaderEpoch, p.CurrentLeaderEpoch = tp.Partition, math.MaxInt32, -1
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
	}
	answer, err := d.ask(ctx, broker, req, "ask for the ends of logs at")
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.OffsetForLeaderEpochResponse)
	ends := make(map[metadata.TopicPartition]metadata.LogEnd, len(tps))
	for i := range resp.Topics {
		for _, p := range resp.Topics[i].Partitions {
			if protocol.ErrorCode(p.ErrorCode) == protocol.None {
				ends[metadata.TopicPartition{Topic: resp.Topics[i].Topic, Partition: p.Partition}] = metadata.LogEnd{LeaderEpoch: p.LeaderEpoch, Offset: p.EndOffset}
			}
		}
	}
	return ends, nil
}
