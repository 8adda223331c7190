package groups

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// commitGroupNotFound is the version of OffsetCommit from which a member of a
// group that is not there is told so (KIP-848).
const commitGroupNotFound = 9

// OffsetCommit stores offsets for a group: of a member, or of a consumer that
// keeps its offsets here but is in no group (generation -1). Versions 2-10.
// Topics are by name, whatever the version; topic ids are passed through. That
// the topics exist is the caller's to check.
func (c *Coordinator) OffsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp, err := call[*kmsg.OffsetCommitResponse](ctx, c, req.Group, shared(req.Group, func(s *shard, now time.Time, w *waiter) decision {
		return s.commit(req, now, w)
	}))
	if err != nil {
		resp = commitFailure(req, c.code(ctx, err))
	}
	resp.Version = req.Version
	return resp
}

// commitFailure says the same of every partition.
func commitFailure(req *kmsg.OffsetCommitRequest, code int16) *kmsg.OffsetCommitResponse {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			rt.Partitions[j].Partition, rt.Partitions[j].ErrorCode = t.Partitions[j].Partition, code
		}
		resp.Topics[i] = rt
	}
	return resp
}

func (s *shard) commit(req *kmsg.OffsetCommitRequest, now time.Time, w *waiter) decision {
	if code := s.checkCommit(req); code != 0 {
		return answer(w, commitFailure(req, code))
	}
	var d decision
	if g, ok := s.groups[req.Group]; ok {
		if session, alive := g.session(req.MemberID); alive {
			d.SetTimer(sessionTimer(req.Group, req.MemberID, session))
		}
	}
	resp := commitFailure(req, 0)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			o := committedOffset{offset: p.Offset, leaderEpoch: p.LeaderEpoch, committed: now.UnixMilli(), expires: -1}
			if p.Metadata != nil {
				o.metadata = *p.Metadata
			}
			if len(o.metadata) > s.config.MaxMetadataSize && utf16Len(o.metadata) > s.config.MaxMetadataSize {
				resp.Topics[i].Partitions[j].ErrorCode = kerr.OffsetMetadataTooLarge.Code
				continue
			}
			if req.RetentionTimeMillis != -1 { // v2-4
				o.expires = max(0, o.committed+min(req.RetentionTimeMillis, math.MaxInt64-o.committed))
			}
			d.Records = append(d.Records, offsetRecord(req.Group, t.Topic, p.Partition, o))
		}
	}
	count := float64(len(d.Records))
	d.Then = func(s *shard) { s.metrics.commits.Add(count) }
	d.Reply(w, resp)
	return d
}

func (s *shard) checkCommit(req *kmsg.OffsetCommitRequest) int16 {
	g, ok := s.groups[req.Group]
	switch {
	case ok:
		return g.checkCommit(req.MemberID, req.InstanceID, req.Generation)
	case req.Generation < 0:
		return 0 // its first offset creates the group
	case req.Version >= commitGroupNotFound:
		return kerr.GroupIDNotFound.Code
	default:
		return kerr.IllegalGeneration.Code
	}
}

func (s *shard) setOffset(groupID, topic string, partition int32, o committedOffset) {
	topics := s.offsets[groupID]
	if topics == nil {
		topics = topicOffsets{}
		s.offsets[groupID] = topics
	}
	partitions := topics[topic]
	if partitions == nil {
		partitions = map[int32]committedOffset{}
		topics[topic] = partitions
	}
	if _, ok := partitions[partition]; !ok {
		s.metrics.offsets.Inc()
	}
	partitions[partition] = o
}

func (s *shard) deleteOffset(groupID, topic string, partition int32) {
	topics := s.offsets[groupID]
	partitions := topics[topic]
	if _, ok := partitions[partition]; !ok {
		return
	}
	s.metrics.offsets.Dec()
	delete(partitions, partition)
	if len(partitions) == 0 {
		delete(topics, topic)
	}
	if len(topics) == 0 {
		delete(s.offsets, groupID)
	}
}

// topicsDeleted has every group that has offsets there forget them.
func (s *shard) topicsDeleted(names []string) decision {
	var d decision
	for _, groupID := range slices.Sorted(maps.Keys(s.offsets)) {
		for _, name := range names {
			if _, ok := s.offsets[groupID][name]; !ok {
				continue
			}
			d.SetTimer(timer{
				Key: coordinator.TimerKey{Kind: "topic deleted", Scope: groupID, ID: name},
				Op: exclusive(groupID, func(s *shard, _ time.Time, _ *waiter) decision {
					return decision{Records: topicTombstones(groupID, name, s.offsets[groupID][name])}
				}),
			})
		}
	}
	return d
}

func topicTombstones(groupID, topic string, partitions map[int32]committedOffset) []coordinator.Record {
	records := make([]coordinator.Record, 0, len(partitions))
	for _, p := range slices.Sorted(maps.Keys(partitions)) {
		records = append(records, offsetTombstone(groupID, topic, p))
	}
	return records
}
