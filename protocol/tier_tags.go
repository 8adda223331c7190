package protocol

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tagged fields (KIP-482) of each partition in a DescribeLogDirs response of Varve's broker;
// tagRemoteEnd is in a Fetch response to a follower. Other clients ignore them. The numbers are far
// above Kafka's own, which count from 0 in every struct. They are a contract with released clients:
// within a struct, a number is never reused with another meaning.
const (
	tagRemoteBytes    = 10000 // int64
	tagRemoteSegments = 10001 // int32
	tagPendingBytes   = 10002 // int64
	tagLastUpload     = 10003 // int64
	tagRemoteEnd      = 10004 // int64
	tagRemoteState    = 10007 // UTF-8; 10005 is in tier_problems.go, 10006 in election_tags.go

	tagPendingSegments = 10009 // int32; 10008 is in tier_rebuild.go
)

// TierStats is the state of a partition's remote tier beyond the offsets that ListOffsets returns.
type TierStats struct {
	// RemoteBytes and RemoteSegments are the size of the remote tier.
	RemoteBytes    int64
	RemoteSegments int32
	// PendingBytes and PendingSegments are the closed segments that wait for their upload; 0 if the
	// broker does not send them.
	PendingBytes    int64
	PendingSegments int32
	// LastUpload is the time of the latest commit of a segment, in unix ms; -1 if there was none.
	LastUpload int64
	// State is the activity of the remote tier, a word of tiering.State; "" if the broker does not
	// send it.
	State string
}

// Tags puts the statistics into a partition's tagged fields.
func (s TierStats) Tags(tags *kmsg.Tags) {
	tags.Set(tagRemoteBytes, binary.BigEndian.AppendUint64(nil, uint64(s.RemoteBytes)))
	tags.Set(tagRemoteSegments, binary.BigEndian.AppendUint32(nil, uint32(s.RemoteSegments)))
	tags.Set(tagPendingBytes, binary.BigEndian.AppendUint64(nil, uint64(s.PendingBytes)))
	tags.Set(tagLastUpload, binary.BigEndian.AppendUint64(nil, uint64(s.LastUpload)))
	if s.PendingSegments > 0 {
		tags.Set(tagPendingSegments, binary.BigEndian.AppendUint32(nil, uint32(s.PendingSegments)))
	}
	if s.State != "" {
		tags.Set(tagRemoteState, []byte(s.State))
	}
}

// ReadTierStats is the reverse of Tags. It returns false if a number is missing or has another
// size: the broker is not Varve's, or the version of the request has no tagged fields.
func ReadTierStats(tags *kmsg.Tags) (TierStats, bool) {
	var s TierStats
	found := 0
	tags.Each(func(tag uint32, value []byte) {
		switch {
		case tag == tagRemoteBytes && len(value) == 8:
			s.RemoteBytes = int64(binary.BigEndian.Uint64(value))
		case tag == tagRemoteSegments && len(value) == 4:
			s.RemoteSegments = int32(binary.BigEndian.Uint32(value))
		case tag == tagPendingBytes && len(value) == 8:
			s.PendingBytes = int64(binary.BigEndian.Uint64(value))
		case tag == tagLastUpload && len(value) == 8:
			s.LastUpload = int64(binary.BigEndian.Uint64(value))
		case tag == tagPendingSegments && len(value) == 4:
			s.PendingSegments = int32(binary.BigEndian.Uint32(value))
			return
		case tag == tagRemoteState:
			s.State = string(value)
			return
		default:
			return
		}
		found++
	})
	if found < 4 {
		return TierStats{}, false
	}
	return s, true
}

// TagRemoteEnd puts the end offset (exclusive) of the leader's committed remote tier into a
// partition's tagged fields.
func TagRemoteEnd(tags *kmsg.Tags, offset int64) {
	tags.Set(tagRemoteEnd, binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

// ReadRemoteEnd is the reverse of TagRemoteEnd. It returns -1 if the field is missing.
func ReadRemoteEnd(tags *kmsg.Tags) int64 {
	offset := int64(-1)
	tags.Each(func(tag uint32, value []byte) {
		if tag == tagRemoteEnd && len(value) == 8 {
			offset = int64(binary.BigEndian.Uint64(value))
		}
	})
	return offset
}
