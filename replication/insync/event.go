package insync

import (
	"math"
	"time"

	"github.com/varvelog/varve/metadata"
)

// Event is an input of [Step]: one of the types of this file.
type Event interface{ event() }

// Log holds the leader's offsets at an event. While a broker leads, none of them goes back.
type Log struct {
	Start   int64 // log start offset
	End     int64
	Flushed int64 // everything below is on disk
	// DiskFailed means that the leader may lack what is not on disk, and cannot be fetched from.
	// Nothing is committed, and followers that cannot fetch stay in sync.
	DiskFailed bool
}

// Now holds the facts, beside the log, at an event that may lead to a proposal.
type Now struct {
	Directory metadata.DirectoryID // of the leader's log; zero while it is about to move
	Image     *metadata.Image      // the newest; nil: all brokers count as registered
}

// BecameLeader reports that this broker leads from now on, at a leader epoch that it did not lead
// at before. The state of earlier epochs is dropped.
type BecameLeader struct {
	Self          int32
	Partition     PartitionState
	Settings      Settings
	Log           Log
	HighWatermark int64 // of the log; from now on only the effects move it
	Directory     metadata.DirectoryID
	Time          time.Time
	Proposes      bool // ISR changes can be proposed; false: the ISR never changes
}

// ImageSeen carries a newer image's state of a partition that this broker leads at the same leader
// epoch.
type ImageSeen struct {
	Partition PartitionState
	Log       Log
	Directory metadata.DirectoryID
}

// FollowerFetched reports that a replica has fetched from an offset, and so has everything below
// it.
type FollowerFetched struct {
	LeaderEpoch int32 // at which the fetch was answered
	Follower    metadata.Member
	Offset      int64
	LogStart    int64 // of the follower's log
	Log         Log
	Now         Now
	Time        time.Time
}

// Appended reports that the leader's log has grown.
type Appended struct{ Log Log }

// Flushed reports that more of the leader's log is on disk.
type Flushed struct{ Log Log }

// Tick reports that time has passed: followers that have been behind for longer than MaxLag
// (replica.lag.time.max.ms) are no longer in sync.
type Tick struct {
	MaxLag time.Duration
	Log    Log
	Now    Now
	Time   time.Time
}

// DirectoriesDue triggers a proposal of the present ISR, if the image has other directories for the
// members' logs than the members report.
type DirectoriesDue struct{ Now Now }

// ProposalAnswered reports the outcome of a proposal.
type ProposalAnswered struct {
	Proposal Proposal
	Outcome  Outcome
	Log      Log
	Image    *metadata.Image // the newest; may be nil
}

// Outcome is what is known about a proposal.
type Outcome int

const (
	// WasUncertain means that the proposal may have been written, or may still be. It is retried.
	WasUncertain Outcome = iota
	// WasWritten means that the proposal was written.
	WasWritten
	// WasRefused means that this attempt did not write the proposal and never will.
	WasRefused
)

// SettingsChanged carries settings that apply from now on.
type SettingsChanged struct {
	Settings Settings
	Log      Log
}

// Resigned reports that this broker no longer leads.
type Resigned struct{}

func (BecameLeader) event()     {}
func (ImageSeen) event()        {}
func (FollowerFetched) event()  {}
func (Appended) event()         {}
func (Flushed) event()          {}
func (Tick) event()             {}
func (DirectoriesDue) event()   {}
func (ProposalAnswered) event() {}
func (SettingsChanged) event()  {}
func (Resigned) event()         {}

// Effects are what has to happen after an event and before the next one. None of it waits.
type Effects struct {
	// HighWatermark is the new high watermark; 0: it stays.
	HighWatermark int64
	// Proposal is a set to be written, nil if there is none. It stays [State.Open] until it is
	// answered or an image makes it void. While its outcome is unknown it is written again.
	Proposal *Proposal
	// TellDirectories means that the image has other directories for the members' logs than the
	// members report: the caller should bring DirectoriesDue soon, after a pause in which other
	// members may report theirs.
	TellDirectories bool
	// Wake means that a wait may be over: for the high watermark, a role, or a follower's log
	// start.
	Wake bool
}

// revision returns an image's revision.
func revision(image *metadata.Image) int64 {
	if image == nil {
		return math.MaxInt64
	}
	return image.Revision
}
