package groups

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

func TestOverviewsAreOfMembersAndOffsets(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		for group, offset := range map[string]int64{"g": 5, "simple": 7} {
			commit := kmsg.NewPtrOffsetCommitRequest()
			commit.Version, commit.Group, commit.Generation = 9, group, -1
			topic, partition := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
			topic.Topic, partition.Partition, partition.Offset = "t", 3, offset
			topic.Partitions = []kmsg.OffsetCommitRequestTopicPartition{partition}
			commit.Topics = []kmsg.OffsetCommitRequestTopic{topic}
			if resp := h.c.OffsetCommit(h.ctx(), commit); resp.Topics[0].Partitions[0].ErrorCode != 0 {
				t.Fatalf("commit: %+v", resp)
			}
		}
		if resp := h.c.JoinGroup(h.ctx(), sampleJoin(3), ClientInfo{}); resp.ErrorCode != 0 {
			t.Fatalf("join: %+v", resp)
		}
		list, err := h.c.Overviews(h.ctx())
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v, %v", list, err)
		}
		at := metadata.TopicPartition{Topic: "t", Partition: 3}
		for _, o := range list {
			members, offset := map[string]int{"g": 1}[o.ID], map[string]int64{"g": 5, "simple": 7}[o.ID]
			if o.Members != members || !maps.Equal(o.Offsets, map[metadata.TopicPartition]int64{at: offset}) {
				t.Errorf("%+v, want %d members and offset %d", o, members, offset)
			}
		}
		h.c.OnResigned(0)
		h.c.OnResigned(1)
		if list, err = h.c.Overviews(h.ctx()); err != nil || len(list) != 0 {
			t.Errorf("of groups that are coordinated elsewhere: %+v, %v", list, err)
		}
	})
}

// TestPingFindsAStuckShard holds one of two shards up.
func TestPingFindsAStuckShard(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		ping := func() error {
			ctx, cancel := context.WithTimeout(h.ctx(), time.Second)
			defer cancel()
			return h.c.Ping(ctx)
		}
		if err := ping(); err != nil {
			t.Error(err)
		}
		release := make(chan struct{})
		if _, err := h.c.runtime.Submit(1, read(func(*shard, time.Time, *waiter) decision { <-release; return decision{} })); err != nil {
			t.Fatal(err)
		}
		if err := ping(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a stuck shard: %v", err)
		}
		close(release)
		if err := ping(); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
