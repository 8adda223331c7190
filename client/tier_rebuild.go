package client

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// TierRebuild is what the leader of a partition has found in the bucket, and done: see
// protocol.TierRebuild.
type TierRebuild struct {
	TopicPartition
	protocol.TierRebuild
}

// RebuildTier makes the leader of a partition set the pointer of its remote tier to the bucket's
// newest complete manifest. With dryRun it only reports what that would do. The error says why the
// pointer was not set; the result then still names the skipped manifests.
func (c *Client) RebuildTier(ctx context.Context, tp TopicPartition, dryRun bool) (TierRebuild, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	found := TierRebuild{TopicPartition: tp}
	leader, err := c.leaderOf(ctx, tp)
	if err != nil {
		return found, err
	}
	request := kmsg.NewPtrAlterReplicaLogDirsRequest()
	dir := protocol.DirTierRebuild
	if dryRun {
		dir = protocol.DirTierRebuildDryRun
	}
	request.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{
		Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: tp.Topic, Partitions: []int32{tp.Partition}}},
	}}
	answer, err := c.kafka.Broker(int(leader)).RetriableRequest(ctx, request)
	if err != nil {
		return found, c.Explain(err)
	}
	response, ok := answer.(*kmsg.AlterReplicaLogDirsResponse)
	if !ok || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return found, fmt.Errorf("%s: broker %d has not answered for it", tp, leader)
	}
	p := &response.Topics[0].Partitions[0]
	told, known := protocol.ReadTierRebuild(&p.UnknownTags)
	found.TierRebuild = told
	if err = kerr.ErrorForCode(p.ErrorCode); err != nil {
		return found, c.about(tp.String(), told.Error, err)
	}
	if !known {
		return found, fmt.Errorf("%s: broker %d cannot rebuild remote tiers: upgrade it", tp, leader)
	}
	return found, nil
}

// leaderOf returns the broker that leads the partition.
func (c *Client) leaderOf(ctx context.Context, tp TopicPartition) (int32, error) {
	topics, err := c.Topics(ctx, tp.Topic)
	if err != nil {
		return -1, err
	}
	for _, t := range topics {
		for _, p := range t.Partitions {
			switch {
			case p.ID != tp.Partition:
			case p.Leader < 0:
				return -1, c.about(tp.String(), "", kerr.LeaderNotAvailable)
			default:
				return p.Leader, nil
			}
		}
	}
	return -1, c.about(tp.String(), "", kerr.UnknownTopicOrPartition)
}
