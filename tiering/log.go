package tiering

import (
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
	SetRemoteEndOffset(offset int64)
	AdvanceStartOffset(offset int64) error
}

// closedSegment is a storage.ClosedSegment whose files are opened by a function,
// so that tests can make one.
type closedSegment struct {
	baseOffset, endOffset, bytes int64
	open                         func() (storage.SegmentFiles, func(), error)
}

// storageLog is the localLog of the real thing.
type storageLog struct{ *storage.Log }

func (l storageLog) closedSegments(from int64) []closedSegment {
	segments := l.ClosedSegments(from)
	out := make([]closedSegment, 0, len(segments))
	for _, s := range segments {
		if s.EndOffset > from {
			out = append(out, closedSegment{s.BaseOffset, s.EndOffset, s.SizeBytes, s.Open})
		}
	}
	return out
}
