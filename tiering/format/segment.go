package format

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/document"
)

// Epoch is a leader epoch and its start offset.
type Epoch [2]int64

// LeaderEpoch returns the epoch's number.
func (e Epoch) LeaderEpoch() int32 { return int32(e[0]) }

// StartOffset returns the first offset that was written in the epoch.
func (e Epoch) StartOffset() int64 { return e[1] }

// Flags of entries. Other bits mean nothing to this build.
const (
	// FlagCompacted: records that later ones superseded were removed. Offsets have gaps.
	FlagCompacted = 1 << iota
	// FlagBorrowed: the object belongs to another partition, which deletes it.
	FlagBorrowed
)

// Segment is an entry of a manifest or a page: a segment object, and the range of offsets that it
// serves. Positions and sizes are in bytes, times in unix ms, ends are exclusive.
type Segment struct {
	// Name is the object's name, relative to the partition's prefix.
	Name string `json:"name"`
	// Loc is the object's location: an index into the manifest's locations, from 1; 0:
	// beside the manifest.
	Loc int `json:"loc,omitempty"`
	// At is the segment's position in the object. The object's other bytes are other segments.
	At int64 `json:"at,omitempty"`

	// BaseOffset is that of the segment's first batch. It is below StartOffset if this segment's
	// leader cut its segments at other offsets than the previous one: the previous entry serves the
	// offsets between.
	BaseOffset  int64 `json:"base"`
	StartOffset int64 `json:"start"`
	EndOffset   int64 `json:"end"`
	// MinTimestamp is the smallest first timestamp of the batches, MaxTimestamp the largest
	// timestamp; -1: no record has one.
	MinTimestamp int64 `json:"min_ts"`
	MaxTimestamp int64 `json:"max_ts"`
	// Bytes counts the log bytes from StartOffset on, ObjectBytes those of the segment in the
	// object. The last HotBytes of these serve look-ups and have the checksum CRC32C.
	Bytes       int64  `json:"bytes"`
	ObjectBytes int64  `json:"object_bytes"`
	HotBytes    int64  `json:"hot_bytes"`
	CRC32C      uint32 `json:"crc32c"`
	// Records and Batches count what is in the log bytes, Aborted the transactions whose abort
	// marker is there.
	Records int64  `json:"records"`
	Batches int64  `json:"batches"`
	Aborted int64  `json:"aborted,omitempty"`
	Flags   uint32 `json:"flags,omitempty"`
	// Epochs are the leader epochs of the range, ascending. The first one begins at its start.
	Epochs        []Epoch `json:"epochs"`
	UploadedMs    int64   `json:"uploaded_ms"`
	UploaderEpoch int32   `json:"uploader_epoch"`

	Read []string `json:"read,omitempty"`

	unknown document.Unknown
}

// RetentionTime returns the time from which the segment's age counts: its largest timestamp, or the
// time of its upload if no record has one.
func (s *Segment) RetentionTime() int64 {
	if s.MaxTimestamp < 0 {
		return s.UploadedMs
	}
	return s.MaxTimestamp
}

// FirstEpoch returns the leader epoch at the segment's start.
func (s *Segment) FirstEpoch() int32 { return s.Epochs[0].LeaderEpoch() }

// LastEpoch returns the leader epoch at the segment's end.
func (s *Segment) LastEpoch() int32 { return s.Epochs[len(s.Epochs)-1].LeaderEpoch() }

// Supported returns nil if this build can read the segment, and otherwise an ErrUnsupportedFormat
// with the reason.
func (s *Segment) Supported() error {
	if err := readable(fmt.Sprintf("segment %q", s.Name), s.Read); err != nil {
		return err
	}
	if s.Loc != 0 {
		return unsupportedLocation("segment", s.Name, s.Loc)
	}
	if name, ok := ParseName(s.Name); !ok || name.Kind != KindSegment {
		return unsupportedName("segment", s.Name)
	}
	return nil
}

func (s *Segment) isSupported() bool { return s.Supported() == nil }

func unsupportedLocation(what, name string, loc int) error {
	return fmt.Errorf("%w: %s %q is at location %d: upgrade this broker", ErrUnsupportedFormat, what, name, loc)
}

func unsupportedName(what, name string) error {
	return fmt.Errorf("%w: %s has the name %q: upgrade this broker", ErrUnsupportedFormat, what, name)
}

// check checks the entry by itself, and that it starts at *next, unless that is negative. It
// then moves *next to the entry's end. Of an entry that is not supported it checks only what the
// tree is made of.
func (s *Segment) check(next *int64) error {
	bad := func(what string) error { return fmt.Errorf("%w: %s of segment %q", ErrCorrupt, what, s.Name) }
	ascending := slices.IsSortedFunc(s.Epochs, func(a, b Epoch) int { return int(min(max(a[0]-b[0], -1), 1)) })
	switch {
	case s.Name == "":
		return bad("name")
	case s.StartOffset < 0 || s.EndOffset <= s.StartOffset || *next >= 0 && s.StartOffset != *next:
		return bad("range")
	case len(s.Epochs) == 0 || !ascending || s.Epochs[0][0] < 0 || s.Epochs[len(s.Epochs)-1][0] > 1<<31-1:
		return bad("leader epochs")
	case s.Bytes < 0:
		return bad("size")
	}
	*next = s.EndOffset
	if !s.isSupported() {
		return nil
	}
	name, _ := ParseName(s.Name)
	switch {
	case name.StartOffset != s.StartOffset && s.At == 0:
		return bad("start")
	case s.BaseOffset < 0 || s.StartOffset < s.BaseOffset:
		return bad("base offset")
	case s.At < 0 || s.HotBytes < minHotBytes || s.HotBytes > maxPartBytes || s.ObjectBytes > maxObjectBytes || s.HotBytes > s.ObjectBytes-s.Bytes:
		return bad("size")
	}
	return nil
}
