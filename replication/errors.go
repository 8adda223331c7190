package replication

import "errors"

// Errors of this package. Errors of package storage are passed on, wrapped.
var (
	// ErrUnknownTopicOrPartition says that the partition is gone: its topic was deleted.
	ErrUnknownTopicOrPartition = errors.New("this broker does not have the partition any more")
	// ErrNotLeader says that another broker leads the partition, or none.
	ErrNotLeader = errors.New("this broker does not lead the partition")
	// ErrFencedLeaderEpoch says that the client knows an older leader epoch than this broker.
	ErrFencedLeaderEpoch = errors.New("the leader epoch in the request is older than the leader's")
	// ErrUnknownLeaderEpoch says that the client knows a newer leader epoch than this broker.
	ErrUnknownLeaderEpoch = errors.New("the leader epoch in the request is newer than the leader's")
	// ErrNotEnoughReplicas says that fewer replicas are in sync than min.insync.replicas requires.
	ErrNotEnoughReplicas = errors.New("fewer replicas are in sync than min.insync.replicas")
	// ErrNotEnoughReplicasAfterAppend is the same for a record that was already written. The record
	// may survive or not.
	ErrNotEnoughReplicasAfterAppend = errors.New("the record was written, but fewer replicas are in sync than min.insync.replicas")
	// ErrInvalidRequiredAcks says that acks is not 0, 1 or -1.
	ErrInvalidRequiredAcks = errors.New("acks is none of 0, 1 and -1")
	// ErrOffsetOutOfRange says that an offset is below the log's start or beyond its end, over both
	// tiers.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrOffsetMovedToTier says to a follower that the leader has an offset only in the remote
	// tier, which the follower reads itself.
	ErrOffsetMovedToTier = errors.New("the leader has the offset only in the remote tier")
	// ErrOffsetNotAvailable says that a new leader does not know yet how far the log is committed.
	ErrOffsetNotAvailable = errors.New("the high watermark has not reached the leader's epoch yet")
	// ErrUnreachable says that a broker does not answer.
	ErrUnreachable = errors.New("the broker cannot be reached")
	// ErrPolicy says that the topic's cleanup.policy does not allow records to be deleted.
	ErrPolicy = errors.New("records of a compacted topic can be deleted only if cleanup.policy has \"delete\" too")
	// ErrColdReadFailed says that the object store did not return data of the log that it should
	// have. A retry may succeed.
	ErrColdReadFailed = errors.New("the remote tier cannot be read")
)
