package kv

import "time"

// NoLeader stands where the id of the leading member would be and none leads.
const NoLeader int32 = -1

// Quorum is what the store's members say of their own replication. Offsets are
// indexes of the store's replicated log, which are not revisions.
type Quorum struct {
	LeaderID      int32 // the id of the member that leads, or NoLeader
	Epoch         int64 // grows with every election of a leader
	HighWatermark int64 // what is committed
	Voters        []QuorumMember
	Learners      []QuorumMember // members that follow and do not vote
}

// QuorumMember is one of the store's members.
type QuorumMember struct {
	// ID is that of the broker that the member runs in. A member elsewhere has one
	// that is derived from the store's own, which stays the same; see
	// ExternalMemberID.
	ID int32
	// Endpoints are where the member listens to clients, HOST:PORT; none for a
	// member that listens nowhere.
	Endpoints []string
	// LogEndOffset is up to where the member knows the log to be committed, or -1
	// if that is not known.
	LogEndOffset int64
	// LastFetch is when the member was last known to answer, LastCaughtUp a time
	// whose newest entry it had. Zero: not known.
	LastFetch, LastCaughtUp time.Time
}

// externalMemberBit keeps the ids of members elsewhere away from those that
// people give to brokers.
const externalMemberBit = 1 << 30

// ExternalMemberID is the id of a member that runs in no broker: the low 30 bits
// of the store's own id, plus 2^30.
func ExternalMemberID(id uint64) int32 {
	return int32(externalMemberBit | id&(externalMemberBit-1))
}
