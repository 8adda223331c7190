package coordinator

import (
	"context"

	"github.com/varvelog/varve/record"
)

// Log is the internal topic that the shards keep their state in. Package
// coordinatortest has what every implementation must pass, and one in memory.
type Log interface {
	// Append writes one batch to a partition and returns when it is committed:
	// replicated and flushed as the topic demands. It may write to batch. The
	// leader epoch field of the batch says which epoch the caller was elected in;
	// if that is not the partition's present epoch the answer is
	// ErrNotCoordinator. Any error but ErrUncertain promises that no record of
	// the batch is or will be in the log; ErrUnavailable and ErrRecordTooLarge
	// tell why.
	Append(ctx context.Context, partition int32, batch []byte) (lastOffset int64, err error)
	// Load calls fn with every batch from the start of the log to the end that it
	// had when Load was called, in order: to the log end offset, not to a high
	// watermark that may lag behind what the leader before acknowledged, or behind
	// a write that was uncertain. It ends at the first error of fn and returns it.
	// fn keeps no part of a batch.
	Load(ctx context.Context, partition int32, fn func(record.Batch) error) error
}

// Record is one record of the log. Records with the same key replace one
// another; a nil Value deletes what the key names.
type Record struct {
	Key, Value []byte
}

// overhead is what a record takes in a batch beside its key and value, at most:
// eight varints, most of them short.
const overhead = 32

func (r Record) size() int { return len(r.Key) + len(r.Value) + overhead }
