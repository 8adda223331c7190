package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// pages reads everything with the cursor and returns the result page by page.
func (c *testCluster) pages(limit int32, names ...string) (pages [][]string) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	for range 20 {
		resp := c.call(req).(*kmsg.DescribeTopicPartitionsResponse)
		var page []string
		for _, topic := range resp.Topics {
			switch {
			case topic.ErrorCode != 0:
				page = append(page, shown(topic.Topic)+":"+protocol.ErrorCode(topic.ErrorCode).Name())
			case len(topic.Partitions) == 0:
				page = append(page, shown(topic.Topic)+" without partitions")
			}
			for _, p := range topic.Partitions {
				page = append(page, fmt.Sprintf("%s-%d", shown(topic.Topic), p.Partition))
			}
		}
		pages = append(pages, page)
		if resp.NextCursor == nil {
			return pages
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	c.t.Fatal("the pages do not end")
	return nil
}

func TestDescribeTopicPartitionsByPages(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.topic("b", 3, 1)
	c.topic("a", 2, 1)
	for _, tc := range []struct {
		limit int32
		names []string
		want  [][]string
	}{
		{2000, nil, [][]string{{"a-0", "a-1", "b-0", "b-1", "b-2"}}},
		{5, nil, [][]string{{"a-0", "a-1", "b-0", "b-1", "b-2"}}},
		{2, nil, [][]string{{"a-0", "a-1"}, {"b-0", "b-1"}, {"b-2"}}},
		{3, nil, [][]string{{"a-0", "a-1", "b-0"}, {"b-1", "b-2"}}},
		{0, []string{"a"}, [][]string{{"a-0"}, {"a-1"}}},
		{-1, []string{"a"}, [][]string{{"a-0"}, {"a-1"}}},
		{4, []string{"b", "aa", "b", "c d"}, [][]string{{"aa:UNKNOWN_TOPIC_OR_PARTITION", "b-0", "b-1", "b-2", "c d:INVALID_TOPIC_EXCEPTION"}}},
	} {
		if got := c.pages(tc.limit, tc.names...); !slices.EqualFunc(got, tc.want, slices.Equal) {
			t.Errorf("limit %d of %v: %v, want %v", tc.limit, tc.names, got, tc.want)
		}
	}
}

func TestDescribeTopicPartitionsCursor(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	topic := c.topic("b", 3, 1)
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 10
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "b", Partition: 2}
	resp := c.call(req).(*kmsg.DescribeTopicPartitionsResponse)
	if len(resp.Topics) != 1 || shown(resp.Topics[0].Topic) != "b" || resp.Topics[0].TopicID != topic.ID || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != 2 {
		t.Errorf("a cursor counts as named: %+v", resp.Topics)
	}
	req.Cursor.Partition = 99
	if resp = c.call(req).(*kmsg.DescribeTopicPartitionsResponse); len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 0 || resp.NextCursor != nil {
		t.Errorf("beyond the end: %+v", resp)
	}
	req.Cursor.Partition = -1
	if resp = c.call(req).(*kmsg.DescribeTopicPartitionsResponse); len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != int16(protocol.InvalidRequest) {
		t.Errorf("negative: %+v", resp)
	}
}
