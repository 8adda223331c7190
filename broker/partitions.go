package broker

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

var (
	errInconsistentTopicID = errors.New("the log's topic id differs from the topic id in the request")
	errUnsupportedCodec    = errors.New("the compression type is not supported in this version of the request")
	errInvalidTopic        = errors.New("the request does not apply to an internal topic")
	errUnsupportedVersion  = errors.New("the version of the API does not know what the request asks for")
)

// partitionByName finds a partition on this broker. The error depends on whether the cluster has
// it.
func (b *Broker) partitionByName(topic string, number int32) (*replication.Partition, error) {
	tp := metadata.TopicPartition{Topic: topic, Partition: number}
	if p, ok := b.partitions.Partition(tp); ok {
		return p, nil
	}
	if _, ok := b.cluster.Image().Partition(tp); ok {
		return nil, fmt.Errorf("%s: %w", tp, replication.ErrNotLeader)
	}
	return nil, fmt.Errorf("%s: %w", tp, metadata.ErrUnknownTopic)
}

// partitionByID finds a partition on this broker by its topic's id.
func (b *Broker) partitionByID(id metadata.TopicID, number int32) (*replication.Partition, error) {
	if p, ok := b.partitions.PartitionByID(id, number); ok {
		return p, nil
	}
	topic, ok := b.cluster.Image().TopicByID(id)
	if !ok {
		return nil, fmt.Errorf("topic id %s: %w", id, errUnknownTopicID)
	}
	tp := metadata.TopicPartition{Topic: topic.Name, Partition: number}
	if _, ok = topic.Partition(number); !ok {
		return nil, fmt.Errorf("%s: %w", tp, metadata.ErrUnknownTopic)
	}
	if _, ok = b.partitions.Partition(tp); ok {
		// an older topic of that name is about to be deleted
		return nil, fmt.Errorf("%s: %w", tp, errInconsistentTopicID)
	}
	return nil, fmt.Errorf("%s: %w", tp, replication.ErrNotLeader)
}

// leaderHint is the leader of a partition, for a client that used the wrong broker.
type leaderHint struct {
	id, epoch int32
	endpoint  metadata.Listener
	rack      *string
	reachable bool // endpoint is known
}

// leaderOf returns the leader of a partition as this broker knows it, with its address on the
// listener that the client uses.
func (b *Broker) leaderOf(topic string, id metadata.TopicID, number int32, listener string) leaderHint {
	hint := leaderHint{id: metadata.NoBroker, epoch: -1}
	image := b.cluster.Image()
	t, ok := image.TopicByName(topic)
	if !ok {
		if t, ok = image.TopicByID(id); !ok {
			return hint
		}
	}
	p, ok := t.Partition(number)
	if !ok {
		return hint
	}
	hint.id, hint.epoch = p.Leader, p.LeaderEpoch
	if leader, alive := image.Leader(p); alive {
		hint.endpoint, hint.reachable = leader.Listener(listener)
		hint.rack = rack(leader)
	}
	return hint
}

// explains reports whether an error's text helps the client and reveals nothing of this machine.
func explains(code protocol.ErrorCode) bool {
	return code != protocol.None && code != protocol.KafkaStorageError && code != protocol.UnknownServerError
}
