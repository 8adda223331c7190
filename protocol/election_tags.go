package protocol

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tagged fields of a partition in a DescribeTopicPartitions response of Varve's broker. A field
// without a value is left out. As in tier_tags.go, a number is never reused with another meaning
// within a struct.
const (
	tagAwaited      = 10005 // an int32 for each broker id
	tagUncleanEpoch = 10006 // int32
)

// Elections is the information about a partition's elections that Kafka's fields do not carry.
type Elections struct {
	// Awaited lists the brokers that a partition without a leader waits for.
	Awaited []int32
	// UncleanEpoch is the leader epoch of the latest unclean election; 0 if there was none.
	UncleanEpoch int32
}

// Tags sets the fields that have a value in a partition's tagged fields.
func (e Elections) Tags(tags *kmsg.Tags) {
	if len(e.Awaited) > 0 {
		var ids []byte
		for _, id := range e.Awaited {
			ids = binary.BigEndian.AppendUint32(ids, uint32(id))
		}
		tags.Set(tagAwaited, ids)
	}
	if e.UncleanEpoch != 0 {
		tags.Set(tagUncleanEpoch, binary.BigEndian.AppendUint32(nil, uint32(e.UncleanEpoch)))
	}
}

// ReadElections is the reverse of Tags. A response of a broker other than Varve's yields the zero
// value.
func ReadElections(tags *kmsg.Tags) Elections {
	var e Elections
	tags.Each(func(tag uint32, value []byte) {
		switch {
		case tag == tagAwaited && len(value)%4 == 0:
			for ; len(value) > 0; value = value[4:] {
				e.Awaited = append(e.Awaited, int32(binary.BigEndian.Uint32(value)))
			}
		case tag == tagUncleanEpoch && len(value) == 4:
			e.UncleanEpoch = int32(binary.BigEndian.Uint32(value))
		}
	})
	return e
}
