package kv

import "time"

// NoLeader is the LeaderID of a Quorum without a leader.
const NoLeader int32 = -1

// Quorum is the replication state of the store's members. Offsets are indexes of the store's
// replicated log, which are not revisions.
type Quorum struct {
	LeaderID      int32 // the id of the leading member, or NoLeader
	Epoch         int64 // grows with every election of a leader
	HighWatermark int64 // the index up to which the log is committed
	Voters        []QuorumMember
	Learners      []QuorumMember // members that follow and do not vote
}

// QuorumMember is one of the store's members.
type QuorumMember struct {
	// ID is the id of the broker that the member runs in. For a member outside of brokers it is
	// derived from the store's own member id, which never changes; see ExternalMemberID.
	ID int32
	// Endpoints are the addresses at which the member listens to clients, as host:port. None: it
	// listens nowhere.
	Endpoints []string
	// LogEndOffset is the index up to which the member knows the log to be committed, -1 if
	// unknown.
	LogEndOffset int64
	// LastFetch is when the member last answered. LastCaughtUp is the last time at which it had
	// everything that the leader had. Zero: unknown.
	LastFetch, LastCaughtUp time.Time
}

// externalMemberBit keeps the ids of members outside of brokers apart from the ids that users give
// to brokers.
const externalMemberBit = 1 << 30

// ExternalMemberID returns the id of a member that runs in no broker: the low 30 bits of the
// store's own id, plus 2^30.
func ExternalMemberID(id uint64) int32 {
	return int32(externalMemberBit | id&(externalMemberBit-1))
}
