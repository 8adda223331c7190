package protocol

import (
	"bytes"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTierStatsSurviveTheWire(t *testing.T) {
	want := TierStats{RemoteBytes: math.MaxInt64 - 1, RemoteSegments: 70_000, PendingBytes: 1 << 33, PendingSegments: 80_000, LastUpload: -1, State: "read-only"}
	response := kmsg.NewPtrDescribeLogDirsResponse()
	response.Version = 4
	response.Dirs = []kmsg.DescribeLogDirsResponseDir{{
		Dir: "/d",
		Topics: []kmsg.DescribeLogDirsResponseDirTopic{{
			Topic: "t", Partitions: []kmsg.DescribeLogDirsResponseDirTopicPartition{{Partition: 3, Size: 10}, {Partition: 4, Size: 11}},
		}},
	}}
	want.Tags(&response.Dirs[0].Topics[0].Partitions[0].UnknownTags)

	read := kmsg.NewPtrDescribeLogDirsResponse()
	read.Version = 4
	if err := read.ReadFrom(response.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	partitions := read.Dirs[0].Topics[0].Partitions
	if got, ok := ReadTierStats(&partitions[0].UnknownTags); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if got, ok := ReadTierStats(&partitions[1].UnknownTags); ok {
		t.Errorf("a partition without the fields gives %+v", got)
	}
}

// Released clients know these bytes, so they must not change.
func TestTierTagBytes(t *testing.T) {
	var tags kmsg.Tags
	TierStats{RemoteBytes: 0x0102030405060708, RemoteSegments: 9, PendingBytes: 10, LastUpload: -1, State: "active"}.Tags(&tags)
	want := "\x90\x4e\x08\x01\x02\x03\x04\x05\x06\x07\x08" + "\x91\x4e\x04\x00\x00\x00\x09" +
		"\x92\x4e\x08\x00\x00\x00\x00\x00\x00\x00\x0a" + "\x93\x4e\x08\xff\xff\xff\xff\xff\xff\xff\xff" + "\x97\x4e\x06active"
	if got := tags.AppendEach(nil); !bytes.Equal(got, []byte(want)) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestTierStatsOfForeignTags(t *testing.T) {
	for _, tag := range []uint32{tagRemoteBytes, tagRemoteSegments, tagPendingBytes, tagLastUpload} {
		var tags kmsg.Tags
		TierStats{}.Tags(&tags)
		tags.Set(7, []byte("of another broker"))
		if _, ok := ReadTierStats(&tags); !ok {
			t.Errorf("a tag of another broker hides the statistics")
		}
		tags.Set(tag, []byte{1, 2, 3})
		if _, ok := ReadTierStats(&tags); ok {
			t.Errorf("tag %d with three bytes is accepted", tag)
		}
	}
}
