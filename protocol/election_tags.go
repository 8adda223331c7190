package protocol

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tagged fields that Varve's broker puts into a partition of a DescribeTopicPartitions response where they say something. As with those of
// tier_tags.go, a number is never used again for anything else.
const (
	tagAwaited      = 10005 // int32 each
	tagUncleanEpoch = 10006 // int32
)

// Elections is what a broker tells of a partition's elections beyond its leader.
type Elections struct {
	// Awaited are the brokers that a partition without a leader waits for.
	Awaited []int32
	// UncleanEpoch is the leader epoch of the newest unclean election, 0 if there was none.
	UncleanEpoch int32
}

// Tags puts into a partition's tagged fields what there is to say.
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

// ReadElections is the reverse of Tags. What another broker than Varve's sends says nothing.
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
