package tiering

import (
	"time"

	"github.com/varvelog/varve/storage"
)

// localLog is what this package needs of a partition's local log.
type localLog interface {
	StartOffset() int64
	LocalStartOffset() int64
	EndOffset() int64
	EpochEntries() []storage.EpochEntry
	// closedSegments are those that end above from and may go up, ascending.
	closedSegments(from int64) []closedSegment
	// SizeFrom is the size of the local segments that begin at offset or later.
	SizeFrom(offset int64) int64
	// WaitsSince is when the first record at or above offset was appended, at the latest, of those
	// that may go up; zero: there is none.
	WaitsSince(offset int64) time.Time
	SetRemoteEndOffset(offset int64)
	AdvanceStartOffset(offset int64) error
}

// closedSegment is a storage.ClosedSegment by functions, so that tests can make one.
type closedSegment struct {
	baseOffset, endOffset, bytes int64

	open     func() (storage.SegmentFiles, func(), error)
	since    func() time.Time
	newestMs func() (int64, error)
}

// storageLog is the localLog of the real thing.
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
