package role

import "github.com/varvelog/varve/metadata"

// Log is what serving and fetching depend on beside the role.
type Log struct {
	// Failed says that the log's directory has failed.
	Failed bool
	// Continues says that the log is known to continue the remote tier, or that there is none. It
	// counts for a leader that is [State.Suspect].
	Continues bool
	// TierEnd is the end of the remote tier as the leader knows it, 0 if it does not.
	TierEnd int64
	// End is the log's end. It is read after TierEnd.
	End int64
}

// Request is how a client asks.
type Request struct {
	// CurrentLeaderEpoch is the leader epoch that the client knows, -1 for none.
	CurrentLeaderEpoch int32
	// FromFollower says that a follower may answer, if it knows a leader: only then is its high
	// watermark kept up to date.
	FromFollower bool
}

// Refusal is why a client is not served.
type Refusal uint8

const (
	// Served says that there is no refusal.
	Served Refusal = iota
	// UnknownPartition says that the partition is not here any more.
	UnknownPartition
	// FencedLeaderEpoch says that the client knows an older leader epoch.
	FencedLeaderEpoch
	// UnknownLeaderEpoch says that the client knows a newer leader epoch.
	UnknownLeaderEpoch
	// NotLeader says that this broker does not lead.
	NotLeader
	// LogFailed says that the log's directory has failed.
	LogFailed
	// Suspicious says that the leader's log may have lost records that the remote tier has, and has
	// not been compared with it yet.
	Suspicious
	// BehindTier says that the leader's log has lost records that the remote tier has. It must not
	// give their offsets to other records.
	BehindTier
)

// Serve reports whether a client may be served by the log.
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

// Fetch is whether a follower may ask its leader for what follows its log.
type Fetch uint8

const (
	// NotFollowing says that the partition does not follow this leader.
	NotFollowing Fetch = iota
	// Blocked says that it cannot take anything over for now.
	Blocked
	// FlushFirst says that what it has must be on the disk first, since its position says so.
	FlushFirst
	// Ready says that it asks.
	Ready
)

// FollowerLog is what fetching depends on beside the role.
type FollowerLog struct {
	Failed    bool // its directory has failed
	Restoring bool // it takes its state from the remote tier
	Unflushed bool // a position must be on the disk, and this one is not
}

// Fetch reports whether the log's position may be sent to a leader, which is a broker at the epoch
// that it was elected under.
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
