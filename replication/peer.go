package replication

import (
	"context"
	"time"

	"github.com/varvelog/varve/metadata"
)

// Dial makes a connection to another broker's Kafka listener. It does not wait: the first fetch
// connects.
type Dial func(broker metadata.Broker) LeaderConn

// LeaderConn is a connection over which one goroutine fetches from a leader. It connects again by
// itself after an error.
type LeaderConn interface {
	// Fetch asks for what follows the positions and waits at the leader, up to MaxWait, for
	// MinBytes. What it returns is valid until the next call. An error that wraps ErrUnreachable
	// says that the broker does not answer, and wraps the system's error that says how.
	Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error)
	// Hurry has the leader answer the Fetch that is under way with what there is, or the next one
	// if none is. It does not wait for that, and the connection stays. It may be called from any
	// goroutine.
	Hurry()
	// Close ends the connection in order: the leader does not take it for the end of this broker.
	// No Fetch is under way.
	Close()
}

// ReplicaFetch is what a follower asks of a leader.
type ReplicaFetch struct {
	Replica            metadata.Member // this broker
	MaxWait            time.Duration
	MinBytes, MaxBytes int32
	// Positions are all partitions that are asked for. The connection does not send again what the
	// leader knows.
	Positions []ReplicaPosition
}

// ReplicaPosition is how far a follower is in one partition.
type ReplicaPosition struct {
	TopicID          metadata.TopicID
	Partition        int32
	Offset           int64
	LogStart         int64
	LeaderEpoch      int32 // that the leader is to have
	LastFetchedEpoch int32 // of the last record before Offset, -1 for none
	MaxBytes         int32
	Directory        metadata.DirectoryID // of the follower's log; zero while it is about to move
}

// ReplicaFetched is the answer for one partition that has news.
type ReplicaFetched struct {
	At            int   // the place of its position
	Err           error // an error of this package, or another
	HighWatermark int64
	LogStart      int64
	RemoteEnd     int64 // end of what is committed to the remote tier, -1 unknown
	Diverging     *EpochEnd
	Records       []byte // whole batches, and maybe a part of one at the end
}
