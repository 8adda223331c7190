package tiering

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/varvelog/varve/metadata"
)

// State is the state of a partition's remote tier.
type State string

// The states of a partition's remote tier.
const (
	// StateAttaching: the manifest is not loaded and claimed yet.
	StateAttaching State = "attaching"
	// StateActive: segments are uploaded as they are closed.
	StateActive State = "active"
	// StatePaused: remote.log.copy.disable of the topic stops uploads.
	StatePaused State = "paused"
	// StateFollowing: another broker leads the partition; the tier is only read.
	StateFollowing State = "following"
	// StateDeposed: another leader owns the manifest.
	StateDeposed State = "deposed"
	// StateReadOnly: this broker leads, but must not change what a newer version has written. The
	// tier is read; nothing is uploaded, expired or deleted.
	StateReadOnly State = "read-only"
)

// Status describes the remote tier of a partition.
type Status struct {
	State       State
	LeaderEpoch int32
	// StartOffset and EndOffset (exclusive) are the range that can be read from the remote tier.
	// Both are -1 if nothing has been uploaded yet. They are equal if all of it has expired.
	StartOffset, EndOffset int64
	// Segments and Bytes count what the remote tier holds, in bytes of the log.
	Segments, Bytes int64
	// LagSegments and LagBytes count closed segments that wait to be uploaded.
	LagSegments, LagBytes int64
	// LastUpload is when this attachment last committed a segment, or when the newest one of the
	// tier was uploaded; zero: never.
	LastUpload time.Time
	// Manifest is the name of the current manifest, "" for none.
	Manifest string
	// Err joins the errors of the kinds of work whose last attempt failed, nil if none did.
	Err error
	// Problems are what an operator has to look at, now or soon: the most urgent first.
	Problems []Problem
}

// The kinds of problems that are not a failing kind of work. Those are "attach" (to load and claim
// the manifest, and to compare it with the local log), "upload", "expire", "sweep" and "delete".
const (
	ProblemDamage      = "damage"      // an object is missing or damaged
	ProblemUndeletable = "undeletable" // objects cannot be deleted
)

// The kinds of problems of the bucket as a whole.
const (
	ProblemOrphans = "orphans" // objects belong to no topic
	ProblemSuspect = "suspect" // the same, but the bucket's catalogue has the topic
)

// Problem is something that keeps a part of the remote tier's work from being done, or its data
// from being read.
type Problem struct {
	Kind   string
	Object string    // the object in question; "": none
	Count  int       // number of such objects; at least 1
	Since  time.Time // when this broker first found it
	Err    error     // what it last found
}

// Status returns the state of the partition's remote tier. It returns false if the partition is not
// attached. On a follower it is what the last read saw.
func (m *Manager) Status(tp metadata.TopicPartition) (Status, bool) {
	p, ok := m.partition(tp)
	if !ok {
		return Status{}, false
	}
	p.mu.Lock()
	s := Status{
		State: p.mu.state, LeaderEpoch: p.LeaderEpoch, StartOffset: -1, EndOffset: -1,
		LagSegments: p.mu.lag.segments, LagBytes: p.mu.lag.bytes,
	}
	lastUpload := p.mu.lastUpload
	p.mu.Unlock()
	if s.State == StateActive && p.Config().RemoteCopyDisable {
		s.State = StatePaused
	}
	s.Problems, s.Err = p.problems()
	current := p.manifest.Load()
	if current == nil || current.Sequence == 0 {
		return s, true
	}
	s.StartOffset, s.EndOffset = current.StartOffset, current.EndOffset
	s.Segments, s.Bytes = current.Segments, current.Bytes
	s.Manifest = current.Name()
	if ms := cmp.Or(lastUpload, current.LastUploadedMs()); ms > 0 {
		s.LastUpload = time.UnixMilli(ms)
	}
	return s, true
}

// problems returns damage, then kinds of work that fail, then what cannot be deleted. The error
// joins those of the kinds of work.
func (p *partition) problems() (all []Problem, err error) {
	for _, d := range p.damaged() {
		all = append(all, Problem{ProblemDamage, d.Object, 1, d.Since, d.Err})
	}
	p.mu.Lock()
	for w := range workCount {
		if f := p.mu.failures[w]; f != nil {
			err = errors.Join(err, f.err)
			if p.mu.state != StateDeposed {
				all = append(all, Problem{w.String(), "", 1, f.since, f.err})
			}
		}
	}
	p.mu.Unlock()
	if n, object, worst := p.deletions.overdue(); n > 0 {
		if !strings.HasPrefix(object, p.prefix) {
			object = p.prefix + object
		}
		all = append(all, Problem{ProblemUndeletable, object, n, worst.since, worst.err})
	}
	return all, err
}
