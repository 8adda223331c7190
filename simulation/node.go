package simulation

import (
	"context"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
)

// Machine is where a broker's processes run, one after the other: its disks. It survives them.
type Machine interface {
	// Start recovers the logs and returns the process that has them.
	Start(o NodeOptions) (Node, error)
	// Stop ends the process that runs. clean: everything is on the disk before. crash: the machine
	// loses what was not, or a part of it by chance. Otherwise only the process dies.
	Stop(how Stop, chance uint64) error
	// Directories are the data directories that work, of those that the newest process began with.
	Directories() []metadata.DirectoryID
	// Distrusted are those that had failed before the newest start.
	Distrusted() []metadata.DirectoryID
	// Fail has the disk of a data directory fail, by its place, until the process ends. It returns
	// which directory that is.
	Fail(directory int64) metadata.DirectoryID
	// Lose empties a data directory for good while no process runs, and returns which that was.
	Lose(directory int64) metadata.DirectoryID
}

// Stop is how a process ends.
type Stop int8

// The ends of a process.
const (
	Killed Stop = iota
	Clean
	Crashed // with its machine
)

// NodeOptions are what a process's replicas need of the rest of it.
type NodeOptions struct {
	BrokerID int32
	Epoch    func() int64 // of the registration
	Loader   *metadata.Loader
	AlterISR func(ctx context.Context, changes []metadata.ISRChange) []error
	MinISR   func(image *metadata.Image, topic string) int
	// Bucket is for the remote tier, and Store for its pointers; nil: there is none.
	Bucket objstore.Bucket
	Store  kv.Store
}

// Node is the replicas of a broker's process. Those of its methods that have a context may wait, and
// are called in coroutines.
type Node interface {
	// Run has the remote tier work until ctx ends.
	Run(ctx context.Context)
	// Apply makes the partitions what an image says.
	Apply(ctx context.Context, image *metadata.Image)
	// Append appends one record as the partition's leader, with acks=all. The id is its topic's.
	Append(id metadata.TopicID, tp metadata.TopicPartition, value string) (Pending, error)
	// DeleteRecords deletes up to an offset, which is a part per 100 of what is committed.
	DeleteRecords(id metadata.TopicID, tp metadata.TopicPartition, part int64) (Pending, error)
	// Read is what a consumer gets from an offset on.
	Read(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition, offset int64) ([]Entry, error)
	// Rebuild sets the pointer to a partition's tier to what the bucket has.
	Rebuild(ctx context.Context, id metadata.TopicID, tp metadata.TopicPartition) error
	// Ask is what to fetch from a leader, nil for nothing.
	Ask(leader metadata.Member) any
	// Serve answers what a follower has asked. news: there was something.
	Serve(from metadata.Member, asked any) (answer any, news bool)
	// Take applies what a leader has answered. The error is that of a replica in sync which is to
	// give up what was committed.
	Take(ctx context.Context, asked, answer any) error
	// Proposes reports whether in-sync sets wait to be written. WriteISR writes them, and reports
	// whether it was answered.
	Proposes() bool
	WriteISR(ctx context.Context) bool
	// Tick looks for followers that lag, and has local retention delete what it may.
	Tick(ctx context.Context)
	// Place proposes the directories that the cluster does not know.
	Place()
	// Flush has the logs on the disk.
	Flush()
	// Views are the replicas as they are.
	Views() []View
}

// Pending is an append, or a DeleteRecords, whose outcome may be asked for.
type Pending interface {
	Offset() int64
	Done() (done bool, err error)
}

// Entry is a record of a log.
type Entry struct {
	Offset int64
	Value  string
}

// View is a replica as it is.
type View struct {
	Topic         metadata.TopicID
	Partition     metadata.TopicPartition
	Leads         bool
	LeaderEpoch   int32
	Directory     metadata.DirectoryID
	Start         int64 // of the log
	LocalStart    int64 // of what is here
	End           int64
	HighWatermark int64
	LastEpoch     int32 // of the last record, -1 for none
	Closed        int64 // of a leader: up to here it may be in the tier
	// Changes is another number whenever the log has lost some of its end, or has begun again.
	Changes int64
	// Entries are the records from an offset on.
	Entries func(from int64) ([]Entry, error)
}
