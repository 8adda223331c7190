package client

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// TierProblem keeps a partition's remote tier from working, or from being read, as one of the
// brokers with a replica sees it. Or it is about the bucket as a whole, as the controller sees it:
// then Topic is "" and Partition -1.
type TierProblem struct {
	Topic     string
	Partition int32
	Broker    int32
	Kind      string // see protocol.TierProblem
	Object    string // its key in the bucket, "" for none
	Count     int    // how many such objects, at least 1
	Since     int64  // unix ms
	Text      string
}

// TierProblems returns the problems of the bucket, and of all partitions, by topic and partition. A
// broker that does not answer has none: its absence is a problem of another kind.
func (c *Client) TierProblems(ctx context.Context) ([]TierProblem, error) {
	return c.tierProblems(ctx, nil)
}

// BucketProblems returns the problems of the bucket as a whole, without a topic and with partition
// -1.
func (c *Client) BucketProblems(ctx context.Context) ([]TierProblem, error) {
	return c.tierProblems(ctx, []kmsg.DescribeLogDirsRequestTopic{})
}

// tierProblems asks all brokers about topics; nil means all topics.
func (c *Client) tierProblems(ctx context.Context, topics []kmsg.DescribeLogDirsRequestTopic) ([]TierProblem, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrDescribeLogDirsRequest()
	request.Topics = topics
	var problems []TierProblem
	var failed []error
	shards := c.kafka.RequestSharded(ctx, request)
	for _, shard := range shards {
		if shard.Err != nil {
			failed = append(failed, shard.Err)
			continue
		}
		problems = append(problems, tierProblems(shard)...)
	}
	sortTierProblems(problems)
	if len(failed) == len(shards) {
		return nil, c.Explain(errors.Join(failed...))
	}
	return problems, nil
}

func sortTierProblems(problems []TierProblem) {
	slices.SortFunc(problems, func(a, b TierProblem) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Since, b.Since),
			cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object))
	})
}

// tierProblems returns the problems that one broker reports.
func tierProblems(shard kgo.ResponseShard) []TierProblem {
	response, ok := shard.Resp.(*kmsg.DescribeLogDirsResponse)
	if !ok {
		return nil
	}
	var problems []TierProblem
	for _, told := range protocol.ReadTierProblems(&response.UnknownTags) {
		problems = append(problems, TierProblem{
			Partition: -1, Broker: shard.Meta.NodeID, Kind: told.Kind, Object: told.Object, Count: max(told.Count, 1), Since: told.Since, Text: told.Text,
		})
	}
	for _, dir := range response.Dirs {
		for _, topic := range dir.Topics {
			for i := range topic.Partitions {
				p := &topic.Partitions[i]
				if p.IsFuture {
					continue
				}
				for _, told := range protocol.ReadTierProblems(&p.UnknownTags) {
					problems = append(problems, TierProblem{
						Topic: topic.Topic, Partition: p.Partition, Broker: shard.Meta.NodeID,
						Kind: told.Kind, Object: told.Object, Count: max(told.Count, 1), Since: told.Since, Text: told.Text,
					})
				}
			}
		}
	}
	return problems
}
