package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// Metadata lists brokers and the leaders of partitions. Versions 0-13.
//
//   - v0: an empty list means all topics. From v1 on null means all, and empty means none.
//   - v0: a partition with an offline replica has error REPLICA_NOT_AVAILABLE, and only live
//     replicas are listed.
//   - v4 (KIP-204): the client may forbid automatic creation. A topic that this request creates is
//     in its response, which waits until the topic can be used.
//   - v8-10 (KIP-430): authorized operations of topics and of the cluster (from v11 on
//     DescribeCluster has the latter).
//   - v10 (KIP-516): topic ids in the response; v12: also in the request.
//   - v13 (KIP-1102): the top-level error, which makes a client bootstrap again; never set here.
//
// Not implemented: authorization.
func (b *Broker) metadata(ctx context.Context, r *Request, req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	names := b.metadataTopics(ctx, req, resp)
	image := b.cluster.Image()
	for _, id := range image.BrokerIDs() {
		live := image.Brokers[id]
		if at, ok := live.Listener(r.Listener); ok {
			mb := kmsg.NewMetadataResponseBroker()
			mb.NodeID, mb.Host, mb.Port, mb.Rack = id, at.Host, at.Port, rack(live)
			resp.Brokers = append(resp.Brokers, mb)
		}
	}
	resp.ClusterID = &image.ClusterID
	resp.ControllerID = b.controller(image)
	resp.AuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	for _, name := range names {
		topic, ok := image.TopicByName(name)
		if !ok {
			resp.Topics = append(resp.Topics, metadataFailure(name, protocol.UnknownTopicOrPartition))
			continue
		}
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID, t.IsInternal = &topic.Name, topic.ID, isInternal(topic.Name)
		t.AuthorizedOperations = operations(req.IncludeTopicAuthorizedOperations, topicOperations)
		t.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(topic.Partitions))
		for i := range topic.Partitions {
			t.Partitions[i] = metadataPartition(image, r.Listener, req.Version, int32(i), topic.Partitions[i])
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// metadataTopics returns the names of the existing topics that the request is about. It puts the
// failures of single topics into the response.
func (b *Broker) metadataTopics(ctx context.Context, req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) []string {
	image := b.cluster.Image()
	if req.Topics == nil || (req.Version == 0 && len(req.Topics) == 0) {
		return image.TopicNames()
	}
	var names, missing []string
	seen := make(map[string]bool, len(req.Topics))
	for _, t := range req.Topics {
		if t.TopicID != ([16]byte{}) || t.Topic == nil {
			topic, ok := image.TopicByID(t.TopicID)
			switch {
			case req.Version < 12: // v10 and v11 have the field, but no broker ever served it
				resp.Topics = append(resp.Topics, metadataIDFailure(t.TopicID, protocol.InvalidRequest))
				continue
			case !ok:
				resp.Topics = append(resp.Topics, metadataIDFailure(t.TopicID, protocol.UnknownTopicID))
				continue
			}
			t.Topic = &topic.Name
		}
		if seen[*t.Topic] {
			continue
		}
		seen[*t.Topic] = true
		if _, ok := image.TopicByName(*t.Topic); ok {
			names = append(names, *t.Topic)
		} else {
			missing = append(missing, *t.Topic)
		}
	}
	create := (req.Version < 4 || req.AllowAutoTopicCreation) && b.autoCreates()
	created, failed := b.missingTopics(ctx, missing, create)
	for _, f := range failed {
		resp.Topics = append(resp.Topics, metadataFailure(f.Name, protocol.ErrorCode(b.code(ctx, f.Err))))
	}
	return append(names, created...)
}

func metadataFailure(name string, code protocol.ErrorCode) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.ErrorCode, t.IsInternal = &name, int16(code), isInternal(name)
	return t
}

func metadataIDFailure(id [16]byte, code protocol.ErrorCode) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.TopicID, t.ErrorCode = id, int16(code)
	return t
}

func metadataPartition(image *metadata.Image, listener string, version int16, number int32, p *metadata.Partition) kmsg.MetadataResponseTopicPartition {
	mp := kmsg.NewMetadataResponseTopicPartition()
	mp.Partition, mp.LeaderEpoch = number, p.LeaderEpoch
	mp.Replicas, mp.ISR, mp.OfflineReplicas = p.Replicas, p.ISR, offline(image, p.Replicas)
	code := protocol.None
	if version == 0 {
		if len(mp.OfflineReplicas) > 0 {
			code = protocol.ReplicaNotAvailable
		}
		mp.Replicas, mp.ISR = alive(image, p.Replicas), alive(image, p.ISR)
	}
	leader, ok := image.Leader(p)
	mp.Leader = leader.ID
	if !ok {
		mp.Leader, code = metadata.NoBroker, protocol.LeaderNotAvailable
	} else if _, reachable := leader.Listener(listener); !reachable {
		code = protocol.ListenerNotFound
		if version < 6 { // the code was added with v6
			code = protocol.LeaderNotAvailable
		}
		mp.Leader = metadata.NoBroker
	}
	mp.ErrorCode = int16(code)
	return mp
}
