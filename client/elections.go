package client

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// electionsPage is how many partitions one request asks for.
const electionsPage = 2000

// Elections adds the cluster's record of elections to the topics' partitions: the brokers that
// those without a leader wait for, and the newest unclean election. A broker that is not Varve's
// reports neither.
func (c *Client) Elections(ctx context.Context, topics []Topic) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	byName := make(map[string]*Topic, len(topics))
	for i := range topics {
		byName[topics[i].Name] = &topics[i]
	}
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.ResponsePartitionLimit = electionsPage
	for {
		response, err := request.RequestWith(ctx, c.kafka)
		if errors.Is(err, kerr.UnsupportedVersion) {
			return nil
		}
		if err != nil {
			return c.Explain(err)
		}
		for i := range response.Topics {
			if t := response.Topics[i]; t.Topic != nil && byName[*t.Topic] != nil {
				byName[*t.Topic].takeElections(t.Partitions)
			}
		}
		if response.NextCursor == nil {
			return nil
		}
		request.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: response.NextCursor.Topic, Partition: response.NextCursor.Partition}
	}
}

func (t *Topic) takeElections(described []kmsg.DescribeTopicPartitionsResponseTopicPartition) {
	for i := range described {
		at, found := slices.BinarySearchFunc(t.Partitions, described[i].Partition, func(p Partition, number int32) int { return cmp.Compare(p.ID, number) })
		if found {
			e := protocol.ReadElections(&described[i].UnknownTags)
			t.Partitions[at].Awaited, t.Partitions[at].UncleanEpoch = e.Awaited, e.UncleanEpoch
		}
	}
}
