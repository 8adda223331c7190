package interbroker

import (
	"maps"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// TestLogEndsAreThoseOfTheBroker: LogEnds returns the broker's answers and omits the one log of
// three that is offline.
func TestLogEndsAreThoseOfTheBroker(t *testing.T) {
	broker := answerAny(t, func(request kmsg.Request, response kmsg.Response) {
		req, resp := request.(*kmsg.OffsetForLeaderEpochRequest), response.(*kmsg.OffsetForLeaderEpochResponse)
		for _, asked := range req.Topics {
			topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
			topic.Topic = asked.Topic
			for _, p := range asked.Partitions {
				if p.LeaderEpoch != math.MaxInt32 || p.CurrentLeaderEpoch != -1 || req.ReplicaID != debuggingConsumer {
					t.Errorf("asked as %d for epoch %d of %d", req.ReplicaID, p.LeaderEpoch, p.CurrentLeaderEpoch)
				}
				answer := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				answer.Partition, answer.LeaderEpoch, answer.EndOffset = p.Partition, 7, int64(100+p.Partition)
				if p.Partition == 1 {
					answer.ErrorCode = int16(protocol.KafkaStorageError)
				}
				topic.Partitions = append(topic.Partitions, answer)
			}
			resp.Topics = append(resp.Topics, topic)
		}
	})
	got, err := Dialer{Listener: listener}.LogEnds(t.Context(), broker, []metadata.TopicPartition{{Topic: "a"}, {Topic: "a", Partition: 1}, {Topic: "b", Partition: 2}})
	want := map[metadata.TopicPartition]metadata.LogEnd{{Topic: "a"}: {LeaderEpoch: 7, Offset: 100}, {Topic: "b", Partition: 2}: {LeaderEpoch: 7, Offset: 102}}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}
