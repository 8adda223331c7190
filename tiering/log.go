package tiering

import (
	"time"

	"github.com/varvelog/varve/storage"
)

// localLog is the part of a partition's local log that this package uses.
type localLog interface {
	StartOffset() int64
	LocalStartOffset() int64
	EndOffset() int64
	EpochEntries() []storage.EpochEntry
	// closedSegments returns the segments that end above from and may be uploaded, ascending.
	closedSegments(from int64) []closedSegment
	// SizeFrom returns the size of the local segments that begin at offset or later.
	SizeFrom(offset int64) int64
	// WaitsSince returns the latest time at which the first record at or above offset was appended,
	// of those that may be uploaded; zero: there is none.
	WaitsSince(offset int64) time.Time
	SetRemoteEndOffset(offset int64)
	AdvanceStartOffset(offset int64) error
}

// closedSegment is a storage.ClosedSegment made of functions, so that tests can build one.
type closedSegment struct {
	baseOffset, endOffset, bytes int64

	open     func() (storage.SegmentFiles, func(), error)
	since    func() time.Time
	newestMs func() (int64, error)
}

// storageLog makes a storage.Log a localLog.
type storageLog struct{ *storage.Log }

func (l storageLog) closedSegments(from int64) []closedSegment {
	segments := l.ClosedSegments(from)
	out := make([]closedSegment, 0, len(segments))
	for _, s := range segments {
		if s.EndOffset > from {
			out = append(out, closedSegment{s.BaseOffset, s.EndOffset, s.SizeBytes, s.Open, s.Since, s.NewestMs})
		}
	}
	return out
}
