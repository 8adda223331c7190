package insync

import (
	"math"
	"time"

	"github.com/varvelog/varve/metadata"
)

// Event is something that [Step] answers to: one of the types of this file.
type Event interface{ event() }

// Log is where the leader's log is at an event. While a broker leads, nothing of it goes back.
type Log struct {
	Start   int64 // the log start
	End     int64
	Flushed int64 // all below is on the disk
	// DiskFailed says that the leader does not have what is not on the disk, and cannot be
	// fetched from: nothing is committed, and followers that cannot fetch stay in sync.
	DiskFailed bool
}

// Now is what holds beside the log when an event comes that may lead to a proposal.
type Now struct {
	Directory metadata.DirectoryID // of the leader's log; zero while it is about to move
	Image     *metadata.Image      // the newest; nil: all brokers are registered
}

// BecameLeader says that this broker leads from now on, at a leader epoch that it did not lead at
// before. What was known at another epoch is forgotten.
type BecameLeader struct {
	Self          int32
	Partition     PartitionState
	Settings      Settings
	Log           Log
	HighWatermark int64 // of the log; from here on only the effects move it
	Directory     metadata.DirectoryID
	Time          time.Time
	Proposes      bool // effects that propose a set are heeded
}

// ImageSeen says what an image has of a partition that this broker leads at the same leader epoch.
type ImageSeen struct {
	Partition PartitionState
	Log       Log
	Directory metadata.DirectoryID
}

// FollowerFetched says that a replica has fetched from an offset, and so has everything below it.
type FollowerFetched struct {
	LeaderEpoch int32 // at which it was answered
	Follower    metadata.Member
	Offset      int64
	LogStart    int64 // of its log
	Log         Log
	Now         Now
	Time        time.Time
}

// Appended says that the leader's log has grown.
type Appended struct{ Log Log }

// Flushed says that more of the leader's log is on the disk.
type Flushed struct{ Log Log }

// Tick says that time has passed: followers that have lacked something for longer than MaxLag
// (replica.lag.time.max.ms) are not in sync any more.
type Tick struct {
	MaxLag time.Duration
	Log    Log
	Now    Now
	Time   time.Time
}

// DirectoriesDue says that it is time to propose the set as it is, if the image has other
// directories for the members' logs than they say.
type DirectoriesDue struct{ Now Now }

// ProposalAnswered says what became of a proposal.
type ProposalAnswered struct {
	Proposal Proposal
	Outcome  Outcome
	Log      Log
	Image    *metadata.Image // the newest; may be nil
}

// Outcome is what is known of a proposal.
type Outcome int

const (
	// WasUncertain says that it may have been written, or may be yet. The proposal is tried again.
	WasUncertain Outcome = iota
	// WasWritten says that it was written.
	WasWritten
	// WasRefused says that it was not written by this attempt, and never will be.
	WasRefused
)

// SettingsChanged brings settings that hold from now on.
type SettingsChanged struct {
	Settings Settings
	Log      Log
}

// Resigned says that this broker does not lead any more.
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

// Effects are what has to happen after an event, before the next one. None of it waits.
type Effects struct {
	// HighWatermark is where the high watermark moves to; 0: it stays.
	HighWatermark int64
	// Proposal is a set to be written, nil if there is none. It stays [State.Open] until it is
	// answered or an image makes it void, and is written again while its outcome is not known.
	Proposal *Proposal
	// TellDirectories says that the image has other directories for the members' logs than they
	// say: DirectoriesDue is to come soon, together with what others say.
	TellDirectories bool
	// Wake says that a wait may be over: for the high watermark, a role, or a follower's log start.
	Wake bool
}

// revision is that of an image.
func revision(image *metadata.Image) int64 {
	if image == nil {
		return math.MaxInt64
	}
	return image.Revision
}
