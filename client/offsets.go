package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Special timestamps of ListOffsets.
const (
	Latest        int64 = -1
	Earliest      int64 = -2
	EarliestLocal int64 = -4
)

// Offsets are offsets by partition number.
type Offsets map[int32]int64

// ListOffsets looks up an offset in every partition of a topic. at is one of the special timestamps
// above, or a time in unix ms: then the offset is that of the first record at or after it, or the
// end if there is none.
func (c *Client) ListOffsets(ctx context.Context, topic string, at int64) (Offsets, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var list func(context.Context, ...string) (kadm.ListedOffsets, error)
	switch {
	case at == Latest:
		list = c.admin.ListEndOffsets
	case at == Earliest:
		list = c.admin.ListStartOffsets
	case at == EarliestLocal:
		list = c.admin.ListLocalLogStartOffsets
	case at >= 0:
		list = func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return c.admin.ListOffsetsAfterMilli(ctx, at, topics...)
		}
	default:
		return nil, fmt.Errorf("list offsets: unknown timestamp %d", at)
	}
	listed, err := list(ctx, topic)
	if err != nil {
		return nil, c.Explain(err)
	}
	offsets := Offsets{}
	var failed []error
	for partition, o := range listed[topic] {
		if o.Err != nil {
			failed = append(failed, c.about(partitionName(topic, partition), "", o.Err))
			continue
		}
		offsets[partition] = o.Offset
	}
	return offsets, errors.Join(failed...)
}

func partitionName(topic string, partition int32) string {
	if partition < 0 { // kadm's number for the whole topic
		return "topic " + topic
	}
	return fmt.Sprintf("partition %s-%d", topic, partition)
}
