package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// refuseProduce answers Produce v0-2, which ApiVersions shows and the broker does not serve (see
// api.advertiseFrom). Every partition gets UNSUPPORTED_VERSION. acks=0 gets no response.
func refuseProduce(r kmsg.Request) kmsg.Response {
	req := r.(*kmsg.ProduceRequest)
	if req.Acks == 0 {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition = p.Partition
			partition.ErrorCode = int16(protocol.UnsupportedVersion)
			partition.BaseOffset = -1
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
