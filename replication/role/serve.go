package role

import "github.com/varvelog/varve/metadata"

// Log holds the facts beside the role that decide whether a partition serves clients.
type Log struct {
	// Failed says that the log's directory has failed.
	Failed bool
	// Continues means that the log is known to continue the remote tier, or that there is no tier.
	// It matters only for a leader that is [State.Suspect].
	Continues bool
	// TierEnd is the end of the remote tier as the leader knows it, 0 if it does not.
	TierEnd int64
	// End is the log's end. It must be read after TierEnd.
	End int64
}

// Request holds what a client's request says about roles.
type Request struct {
	// CurrentLeaderEpoch is the leader epoch that the client knows, -1 for none.
	CurrentLeaderEpoch int32
	// FromFollower allows a follower to answer if it knows a leader: only then is its high
	// watermark being updated.
	FromFollower bool
}

// Refusal is the reason why a client is not served.
type Refusal uint8

const (
	// Served means that there is no refusal.
	Served Refusal = iota
	// UnknownPartition means that the partition is not here any more.
	UnknownPartition
	// FencedLeaderEpoch means that the client knows an older leader epoch.
	FencedLeaderEpoch
	// UnknownLeaderEpoch means that the client knows a newer leader epoch.
	UnknownLeaderEpoch
	// NotLeader means that this broker does not lead.
	NotLeader
	// LogFailed means that the log's directory has failed.
	LogFailed
	// Suspicious means that the leader's log may have lost records that the remote tier has, and
	// has not been compared with it yet.
	Suspicious
	// BehindTier means that the leader's log has lost records that the remote tier has. The leader
	// must not assign their offsets to other records.
	BehindTier
)

// Serve decides whether a client may be served from the log.
func (s *State) Serve(r Request, log Log) Refusal {
	switch {
	case s.Kind == Gone, s.Kind == Absent:
		return UnknownPartition
	case r.CurrentLeaderEpoch >= 0 && r.CurrentLeaderEpoch < s.LeaderEpoch:
		return FencedLeaderEpoch
	case r.CurrentLeaderEpoch >= 0 && r.CurrentLeaderEpoch > s.LeaderEpoch:
		return UnknownLeaderEpoch
	case s.Kind != Leader && (!r.FromFollower || s.Kind == Offline):
		return NotLeader
	case log.Failed:
		return LogFailed
	case s.Suspect() && !log.Continues:
		return Suspicious
	case s.Kind == Leader && log.TierEnd > log.End:
		return BehindTier
	default:
		return Served
	}
}

// Fetch is whether a follower may fetch from its leader.
type Fetch uint8

const (
	// NotFollowing means that the partition does not follow this leader.
	NotFollowing Fetch = iota
	// Blocked means that the log cannot be appended to for now.
	Blocked
	// FlushFirst means that the log must be synced first, because its fetch position promises that.
	FlushFirst
	// Ready means that the follower may fetch.
	Ready
)

// FollowerLog holds the facts beside the role that decide whether a follower may fetch.
type FollowerLog struct {
	Failed    bool // its directory has failed
	Restoring bool // it is taking its state from the remote tier
	Unflushed bool // positions must be on disk before they are sent, and the log end is not yet
}

// Fetch reports whether the log's position may be sent to a leader, which is a broker at the broker
// epoch under which it was elected.
func (s *State) Fetch(leader metadata.Member, log FollowerLog) Fetch {
	switch {
	case !s.Follows(leader):
		return NotFollowing
	case log.Failed, log.Restoring:
		return Blocked
	case log.Unflushed:
		return FlushFirst
	default:
		return Ready
	}
}

// Follows reports whether the partition follows a broker at a broker epoch.
func (s *State) Follows(leader metadata.Member) bool {
	return s.Kind == Follower && s.Leader.Broker == leader.Broker && s.Leader.Epoch == leader.Epoch
}
