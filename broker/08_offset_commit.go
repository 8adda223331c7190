package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// OffsetCommit stores how far a group has read. Versions 2-10.
//
//   - v2-4: a retention time of its own, which Kafka since 2.1 (KIP-211) accepts and ignores unless
//     positive.
//   - v6 (KIP-320): leader epochs; v7 (KIP-345): static members.
//   - v9 (KIP-848): GROUP_ID_NOT_FOUND and STALE_MEMBER_EPOCH.
//   - v10 (KIP-848): topics by id, unknown ones get UNKNOWN_TOPIC_ID. By name they get
//     UNKNOWN_TOPIC_OR_PARTITION.
//
// The coordinator identifies topics by name alone. Not implemented: authorization.
func (b *Broker) offsetCommit(ctx context.Context, _ *Request, req *kmsg.OffsetCommitRequest) kmsg.Response {
	image := b.cluster.Image()
	known := *req
	known.Topics = nil
	for _, t := range req.Topics {
		topic, unknown := findTopic(image, req.Version >= 10, t.Topic, t.TopicID)
		if unknown != 0 {
			continue
		}
		kt := t
		kt.Topic, kt.Partitions = topic.Name, nil
		for _, p := range t.Partitions {
			if _, ok := topic.Partition(p.Partition); ok {
				kt.Partitions = append(kt.Partitions, p)
			}
		}
		if len(kt.Partitions) > 0 {
			known.Topics = append(known.Topics, kt)
		}
	}
	codes := make(map[metadata.TopicPartition]int16)
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	if len(known.Topics) > 0 {
		committed := b.groups.OffsetCommit(ctx, &known)
		resp.ThrottleMillis = committed.ThrottleMillis
		for _, t := range committed.Topics {
			for _, p := range t.Partitions {
				codes[metadata.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.ErrorCode
			}
		}
	}
	for _, t := range req.Topics {
		answer := kmsg.NewOffsetCommitResponseTopic()
		answer.Topic, answer.TopicID = t.Topic, t.TopicID
		topic, unknown := findTopic(image, req.Version >= 10, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			ap := kmsg.NewOffsetCommitResponseTopicPartition()
			ap.Partition, ap.ErrorCode = p.Partition, int16(unknown)
			if unknown == 0 {
				code, answered := codes[metadata.TopicPartition{Topic: topic.Name, Partition: p.Partition}]
				if ap.ErrorCode = code; !answered {
					ap.ErrorCode = int16(protocol.UnknownTopicOrPartition)
				}
			}
			answer.Partitions = append(answer.Partitions, ap)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// findTopic finds a topic by its id or by its name, or returns the code for a missing one.
func findTopic(image *metadata.Image, byID bool, name string, id [16]byte) (*metadata.Topic, protocol.ErrorCode) {
	if byID {
		if topic, ok := image.TopicByID(id); ok {
			return topic, protocol.None
		}
		return nil, protocol.UnknownTopicID
	}
	if topic, ok := image.TopicByName(name); ok {
		return topic, protocol.None
	}
	return nil, protocol.UnknownTopicOrPartition
}
