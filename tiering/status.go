package tiering

import (
	"time"

	"github.com/varvelog/varve/metadata"
)

// State is what a partition's remote tier is about.
type State string

// The states of a partition's remote tier.
const (
	// StateAttaching: the manifest is not loaded and claimed yet.
	StateAttaching State = "attaching"
	// StateActive: segments go up as they are closed, or would.
	StateActive State = "active"
	// StateFollowing: another broker leads the partition; the tier is only read.
	StateFollowing State = "following"
	// StateDeposed: another leader owns the manifest.
	StateDeposed State = "deposed"
	// StateReadOnly: this broker leads, and must not change what a newer version has written. The tier
	// is read; nothing goes up, expires or is deleted.
	StateReadOnly State = "read-only"
)

// Status describes the remote tier of a partition.
type Status struct {
	State       State
	LeaderEpoch int32
	// StartOffset and EndOffset (exclusive) are the range that can be read from
	// the remote tier. Both are -1 when nothing has been uploaded yet. When all
	// of it has expired they are equal.
	StartOffset, EndOffset int64
	// Segments and Bytes are what the remote tier holds, in bytes of the log.
	Segments, Bytes int64
	// LagSegments and LagBytes are closed and wait to be uploaded.
	LagSegments, LagBytes int64
	// LastUpload is when this attachment last committed a segment, or when the
	// newest one of the tier went up; zero: never.
	LastUpload time.Time
	// Manifest is the name of the current one, "" for none.
	Manifest string
	// Err is why the last unit of work failed, nil if it did not.
	Err error
}

// Status tells how the partition's remote tier is, false if it is not attached.
// On a follower it is what the last read saw.
func (m *Manager) Status(tp metadata.TopicPartition) (Status, bool) {
	p, ok := m.partition(tp)
	if !ok {
		return Status{}, false
	}
	p.mu.Lock()
	s := Status{
		State: p.mu.state, LeaderEpoch: p.LeaderEpoch, StartOffset: -1, EndOffset: -1,
		LagSegments: p.mu.lag.segments, LagBytes: p.mu.lag.bytes, LastUpload: p.mu.lastUpload, Err: p.mu.lastErr,
	}
	p.mu.Unlock()
	current := p.manifest.Load()
	if current == nil || current.Sequence == 0 {
		return s, true
	}
	s.StartOffset, s.EndOffset = current.StartOffset, current.EndOffset
	s.Segments, s.Bytes = current.Segments, current.Bytes
	s.Manifest = current.Name()
	if n := len(current.Recent); n > 0 && s.LastUpload.IsZero() {
		s.LastUpload = time.UnixMilli(current.Recent[n-1].UploadedMs)
	}
	return s, true
}
