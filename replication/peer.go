package replication

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/metadata"
)

// Dial returns a connection to another broker's Kafka listener. It does not wait: the first fetch
// connects.
type Dial func(broker metadata.Broker) LeaderConn

// LeaderConn is a connection over which one goroutine fetches from a leader. It reconnects by
// itself after an error.
type LeaderConn interface {
	// Fetch requests the records after the positions. The leader waits up to MaxWait for MinBytes.
	// The result is valid until the next call. An error that wraps ErrUnreachable says that the
	// broker does not answer, and also wraps the system error with the reason.
	Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error)
	// Hurry makes the leader answer the Fetch in progress with what there is, or the next Fetch if
	// none is. It does not wait for the answer, and the connection stays open. It may be called
	// from any goroutine.
	Hurry()
	// Close ends the connection in order, so that the leader does not suspect that this broker has
	// died. No Fetch may be in progress.
	Close()
}

// ReplicaFetch is a follower's request to a leader.
type ReplicaFetch struct {
	Replica            metadata.Member // this broker
	MaxWait            time.Duration
	MinBytes, MaxBytes int32
	// Positions lists all requested partitions. The connection omits what the leader already knows.
	Positions []ReplicaPosition
}

// ReplicaPosition is a follower's progress in one partition.
type ReplicaPosition struct {
	TopicID          metadata.TopicID
	Partition        int32
	Offset           int64
	LogStart         int64
	LeaderEpoch      int32 // that the leader must have
	LastFetchedEpoch int32 // of the last record before Offset, -1 for none
	MaxBytes         int32
	Directory        metadata.DirectoryID // of the follower's log; zero while it is about to move
}

// ReplicaFetched is the answer for one partition that has news.
type ReplicaFetched struct {
	At            int   // index of its position
	Err           error // an error of this package, or another
	HighWatermark int64
	LogStart      int64
	RemoteEnd     int64 // end of what is committed to the remote tier, -1 unknown
	Diverging     *EpochEnd
	Records       []byte // whole batches, perhaps followed by part of one
}

// cutsLog reports whether the answer makes the follower drop records or restart its log, which
// waits for the disk.
func (f *ReplicaFetched) cutsLog() bool {
	return f.Diverging != nil || errors.Is(f.Err, ErrOffsetOutOfRange)
}
