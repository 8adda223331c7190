package groups

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// Versions at which OffsetFetch changed shape.
const (
	fetchTopLevelError = 2 // before, an error is in each partition
	fetchManyGroups    = 8
)

// OffsetFetch returns committed offsets: those asked for (-1 if there is none),
// or all of a group if its topics are null. Versions 1-10. Topics are by name,
// whatever the version; topic ids are passed through. RequireStable waits for
// commits that are under way.
func (c *Coordinator) OffsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.Version = req.Version
	groups := req.Groups
	if req.Version < fetchManyGroups {
		groups = []kmsg.OffsetFetchRequestGroup{oldFetch(req)}
	}
	waiters := make([]*waiter, len(groups))
	failures := make([]error, len(groups))
	for i := range groups {
		g := &groups[i]
		o := read(func(s *shard, _ time.Time, w *waiter) decision { return answer(w, s.fetch(g)) })
		if req.RequireStable {
			o.Key, o.Access = g.Group, coordinator.Exclusive
		}
		waiters[i], failures[i] = c.runtime.Submit(c.PartitionFor(g.Group), o)
	}
	for i := range groups {
		var fetched kmsg.OffsetFetchResponseGroup
		err := failures[i]
		if err == nil {
			fetched, err = await[kmsg.OffsetFetchResponseGroup](ctx, waiters[i])
		}
		if err != nil {
			fetched = kmsg.NewOffsetFetchResponseGroup()
			fetched.Group, fetched.ErrorCode = groups[i].Group, c.fetchCode(ctx, err)
		}
		if req.Version < fetchManyGroups {
			fillOldFetch(resp, req, &fetched)
		} else {
			resp.Groups = append(resp.Groups, fetched)
		}
	}
	return resp
}

func (s *shard) fetch(req *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = req.Group
	topics := s.offsets[req.Group]
	if req.Topics == nil {
		for _, name := range slices.Sorted(maps.Keys(topics)) {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = name
			for _, p := range slices.Sorted(maps.Keys(topics[name])) {
				t.Partitions = append(t.Partitions, fetchedPartition(topics[name], p))
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	}
	for _, asked := range req.Topics {
		t := kmsg.NewOffsetFetchResponseGroupTopic()
		t.Topic, t.TopicID = asked.Topic, asked.TopicID
		for _, p := range asked.Partitions {
			t.Partitions = append(t.Partitions, fetchedPartition(topics[asked.Topic], p))
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func fetchedPartition(partitions map[int32]committedOffset, partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	o, ok := partitions[partition]
	if !ok {
		o = committedOffset{offset: -1, leaderEpoch: -1}
	}
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, o.offset, o.leaderEpoch, &o.metadata
	return p
}

// oldFetch is a request of before v8, which is about one group.
func oldFetch(req *kmsg.OffsetFetchRequest) kmsg.OffsetFetchRequestGroup {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics == nil && req.Version >= fetchTopLevelError {
		return g
	}
	g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
	for i, t := range req.Topics {
		g.Topics[i].Topic, g.Topics[i].Partitions = t.Topic, t.Partitions
	}
	return g
}

// fillOldFetch puts the one group into a response of before v8.
func fillOldFetch(resp *kmsg.OffsetFetchResponse, req *kmsg.OffsetFetchRequest, g *kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = g.ErrorCode
	if g.ErrorCode != 0 && req.Version < fetchTopLevelError {
		for _, asked := range req.Topics {
			t := kmsg.NewOffsetFetchResponseTopic()
			t.Topic = asked.Topic
			for _, number := range asked.Partitions {
				p := kmsg.NewOffsetFetchResponseTopicPartition()
				p.Partition, p.Offset, p.Metadata, p.ErrorCode = number, -1, new(""), g.ErrorCode
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return
	}
	for i := range g.Topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = g.Topics[i].Topic
		for _, from := range g.Topics[i].Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = from.Partition, from.Offset, from.LeaderEpoch, from.Metadata, from.ErrorCode
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}
