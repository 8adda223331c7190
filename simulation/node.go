package simulation

import (
	"context"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
)

// Machine is what a broker's processes run on, one after the other: its disks. It outlives them.
type Machine interface {
	// Start recovers the logs and returns the replicas of the new process.
	Start(o NodeOptions) (Node, error)
	// Stop ends the running process. With Clean everything is on disk before the end. With Crashed
	// the machine loses what was not synced, or a random part of it. With Killed only the process
	// dies.
	Stop(how Stop, chance uint64) error
	// Directories returns the working data directories, among those that the newest process began
	// with.
	Directories() []metadata.DirectoryID
	// Distrusted returns the directories that had failed before the newest start.
	Distrusted() []metadata.DirectoryID
	// Fail makes the disk of a data directory, given by its index, fail until the process ends. It
	// returns the directory's id.
	Fail(directory int64) metadata.DirectoryID
	// Lose empties a data directory for good while no process runs. It returns the directory's id.
	Lose(directory int64) metadata.DirectoryID
}

// Stop is how a process ends.
type Stop int8

// The ways in which a process ends.
const (
	Killed Stop = iota
	Clean
	Crashed // with its machine
)

// NodeOptions are what a process's replicas need from the rest of the process.
type NodeOptions struct {
	BrokerID int32
	Epoch    func() int64 // of the registration
	Loader   *metadata.Loader
	AlterISR func(ctx context.Context, changes []metadata.ISRChange) []error
	MinISR   func(image *metadata.Image, topic string) int
	// Bucket is for the remote tier, and Store for its pointers. Both are nil without a remote
	// tier.
	Bucket objstore.Bucket
	Store  kv.Store
}

// Node is the replicas of a broker's process. Methods with a context may wait, and are called in
// coroutines.
type Node interface {
	// Run runs the remote tier until ctx ends.
	Run(ctx context.Context)
	// Apply makes the partitions follow an image.
	Apply(ctx context.Context, image *metadata.Image)
	// Append appends one record as the partition's leader, with acks=all. id is the id of the
	// topic.
	Append(id metadata.TopicID, tp metadata.TopicPartition, value string) (Pending, error)
	// DeleteRecords deletes up to an offset, given as a percentage of the committed records.
	DeleteRecords(id metadata.TopicID, tp metadata.TopicPartition, part int64) (Pending, error)
	// Read returns what a consumer gets from an offset on.
	Read(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition, offset int64) ([]Entry, error)
	// Rebuild sets the pointer to a partition's tier to what the bucket has.
	Rebuild(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition) error
	// Ask returns what to fetch from a leader, nil for nothing.
	Ask(leader metadata.Member) any
	// Serve answers a follower's fetch. news means that there was something to report.
	Serve(from metadata.Member, asked any) (answer any, news bool)
	// Take applies a leader's answer. It returns an error if an in-sync replica would have to give
	// up committed records.
	Take(ctx context.Context, asked, answer any) error
	// Proposes reports whether ISR changes wait to be written. WriteISR writes them, and reports
	// whether the store answered.
	Proposes() bool
	WriteISR(ctx context.Context) bool
	// Tick looks for followers that are behind, and lets local retention delete what it may.
	Tick(ctx context.Context)
	// Place proposes the directories that the cluster does not know.
	Place()
	// Flush syncs the logs.
	Flush()
	// Views returns the present state of the replicas.
	Views() []View
}

// Pending is an append, or a DeleteRecords, whose outcome can be asked for.
type Pending interface {
	Offset() int64
	Done() (done bool, err error)
}

// Entry is a record of a log.
type Entry struct {
	Offset int64
	Value  string
}

// View is the present state of a replica.
type View struct {
	Topic         metadata.TopicID
	Partition     metadata.TopicPartition
	Leads         bool
	LeaderEpoch   int32
	Directory     metadata.DirectoryID
	Start         int64 // the log start offset
	LocalStart    int64 // of the local log
	End           int64
	HighWatermark int64
	LastEpoch     int32 // of the last record, -1 for none
	Closed        int64 // of a leader: segments up to here are closed and may be in the tier
	// Changes differs whenever the log was truncated or started over.
	Changes int64
	// Entries returns the records from an offset on.
	Entries func(from int64) ([]Entry, error)
}
