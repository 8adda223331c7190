package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// OffsetFetch returns how far groups have read. Versions 1-10.
//
//   - v2 (KIP-88): null topics mean all that the group has committed to; errors of the group as a
//     whole.
//   - v5 (KIP-320): leader epochs; v7 (KIP-447): stable offsets only.
//   - v8 (KIP-709): many groups at once; v9 (KIP-848): members of the new protocol.
//   - v10 (KIP-848): topics by id, unknown ones get UNKNOWN_TOPIC_ID. By name they merely have no
//     offset.
//
// The coordinator identifies topics by name alone. Not implemented: authorization.
func (b *Broker) offsetFetch(ctx context.Context, _ *Request, req *kmsg.OffsetFetchRequest) kmsg.Response {
	if req.Version < 10 {
		return b.groups.OffsetFetch(ctx, req)
	}
	image := b.cluster.Image()
	named := *req
	named.Groups = make([]kmsg.OffsetFetchRequestGroup, len(req.Groups))
	unknown := make([][]kmsg.OffsetFetchResponseGroupTopic, len(req.Groups))
	for i, g := range req.Groups {
		named.Groups[i] = g
		if g.Topics == nil {
			continue // all topics
		}
		named.Groups[i].Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(g.Topics))
		for _, t := range g.Topics {
			topic, ok := image.TopicByID(t.TopicID)
			if !ok {
				unknown[i] = append(unknown[i], unknownOffsets(t))
				continue
			}
			t.Topic = topic.Name
			named.Groups[i].Topics = append(named.Groups[i].Topics, t)
		}
	}
	resp := b.groups.OffsetFetch(ctx, &named)
	for i := range resp.Groups {
		known := resp.Groups[i].Topics[:0]
		for _, t := range resp.Groups[i].Topics {
			// otherwise it was deleted, and its offsets soon will be
			if topic, ok := image.TopicByName(t.Topic); ok {
				t.TopicID = topic.ID
				known = append(known, t)
			}
		}
		resp.Groups[i].Topics = known
		if resp.Groups[i].ErrorCode == 0 && i < len(unknown) {
			resp.Groups[i].Topics = append(resp.Groups[i].Topics, unknown[i]...)
		}
	}
	return resp
}

// unknownOffsets is the answer for a topic id that does not exist.
func unknownOffsets(t kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	answer := kmsg.NewOffsetFetchResponseGroupTopic()
	answer.TopicID = t.TopicID
	for _, number := range t.Partitions {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch, p.ErrorCode = number, -1, -1, int16(protocol.UnknownTopicID)
		answer.Partitions = append(answer.Partitions, p)
	}
	return answer
}
