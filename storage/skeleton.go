package storage

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/vfs"
)

// TEMPORARY: signatures of the exported API while it is being filled in.

type Options struct {
	FS         vfs.FS // nil: vfs.OS
	Dirs       []string
	ClusterID  string // "" takes the one on disk
	NodeID     int32
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
	Config     func(topic string) Config // nil: DefaultConfig

	RetentionInterval  time.Duration // 0: 5 min
	FlushInterval      time.Duration // 0: 1 s   (how often flush.ms is looked at)
	CheckpointInterval time.Duration // 0: 5 s
	ProducerExpiration time.Duration // 0: 24 h
	MaxOpenFiles       int           // 0: from the process limit
	RecoveryWorkers    int           // 0: 2 * NumCPU
}

type Manager struct{}

func OpenManager(ctx context.Context, o Options) (*Manager, error) { panic("skeleton") }

func (m *Manager) ClusterID() string                              { panic("skeleton") }
func (m *Manager) Log(topic string, partition int32) (*Log, bool) { panic("skeleton") }
func (m *Manager) Logs() iter.Seq[*Log]                           { panic("skeleton") }
func (m *Manager) Run(ctx context.Context) error                  { panic("skeleton") }
func (m *Manager) Close() error                                   { panic("skeleton") }
func (m *Manager) DirUsage() []DirUsage                           { panic("skeleton") }
func (m *Manager) Delete(topic string, partition int32) error     { panic("skeleton") }
func (m *Manager) Create(topic string, partition int32, topicID [16]byte) (*Log, error) {
	panic("skeleton")
}

// DirUsage is one data directory for DescribeLogDirs.
type DirUsage struct {
	Path        string
	DirectoryID [16]byte
	TotalBytes  int64 // of the volume, -1 unknown
	UsableBytes int64
	Err         error // not nil: failed, its logs answer ErrStorage
	Logs        []*Log
}

type Log struct{}

func (l *Log) Topic() string      { panic("skeleton") }
func (l *Log) Partition() int32   { panic("skeleton") }
func (l *Log) TopicID() [16]byte  { panic("skeleton") }
func (l *Log) Config() Config     { panic("skeleton") }
func (l *Log) SetConfig(c Config) { panic("skeleton") }
func (l *Log) Size() int64        { panic("skeleton") }

func (l *Log) StartOffset() int64         { panic("skeleton") }
func (l *Log) LocalStartOffset() int64    { panic("skeleton") }
func (l *Log) EndOffset() int64           { panic("skeleton") }
func (l *Log) HighWatermark() int64       { panic("skeleton") }
func (l *Log) LastStableOffset() int64    { panic("skeleton") }
func (l *Log) SetHighWatermark(o int64)   { panic("skeleton") }
func (l *Log) FlushedOffset() int64       { panic("skeleton") }
func (l *Log) RemoteEndOffset() int64     { panic("skeleton") }
func (l *Log) SetRemoteEndOffset(o int64) { panic("skeleton") }

type AppendInfo struct {
	FirstOffset, LastOffset int64
	LogAppendTime           int64 // -1 unless LogAppendTime
	LogStartOffset          int64
	MaxTimestamp            int64
	Records                 int64 // offsets assigned
	Duplicate               bool
	NeedsFlush              bool
}

func (l *Log) Append(batches []byte, leaderEpoch int32) (AppendInfo, error) { panic("skeleton") }
func (l *Log) AppendAsFollower(batches []byte) (AppendInfo, error)          { panic("skeleton") }

type Slice struct{}

func (s Slice) Len() int                            { panic("skeleton") }
func (s Slice) BaseOffset() int64                   { panic("skeleton") }
func (s Slice) AppendTo(dst []byte) ([]byte, error) { panic("skeleton") }
func (s Slice) File() vfs.File                      { panic("skeleton") }
func (s Slice) Pos() int64                          { panic("skeleton") }
func (s Slice) Release()                            { panic("skeleton") }

func (l *Log) Read(offset int64, maxBytes int, limit int64, minOne bool) (Slice, error) {
	panic("skeleton")
}

type TimestampOffset struct {
	Offset, Timestamp int64
	LeaderEpoch       int32
}

func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) { panic("skeleton") }
func (l *Log) MaxTimestamp() (TimestampOffset, bool, error)               { panic("skeleton") }

type EpochEntry struct {
	Epoch       int32
	StartOffset int64
}

func (l *Log) EndOffsetForEpoch(epoch int32) (int32, int64)            { panic("skeleton") }
func (l *Log) LatestEpoch() int32                                      { panic("skeleton") }
func (l *Log) EpochEntries() []EpochEntry                              { panic("skeleton") }
func (l *Log) AssignEpoch(epoch int32, startOffset int64) error        { panic("skeleton") }
func (l *Log) AdvanceStartOffset(offset int64) error                   { panic("skeleton") }
func (l *Log) Truncate(to int64) error                                 { panic("skeleton") }
func (l *Log) TruncateFully(at int64) error                            { panic("skeleton") }
func (l *Log) Flush(ctx context.Context, upTo int64) error             { panic("skeleton") }
func (l *Log) Roll() error                                             { panic("skeleton") }
func (l *Log) EnforceRetention(now time.Time) (deleted int, err error) { panic("skeleton") }

type ClosedSegment struct {
	BaseOffset   int64
	EndOffset    int64 // exclusive
	MaxTimestamp int64
	SizeBytes    int64
}

func (l *Log) ClosedSegments(from int64) []ClosedSegment { panic("skeleton") }

// Open pins the files; release must be called once.
func (s ClosedSegment) Open() (files SegmentFiles, release func(), err error) { panic("skeleton") }

type SegmentFiles struct {
	Log, Index, TimeIndex *io.SectionReader
	TxnIndex, Snapshot    *io.SectionReader // nil: none
	LeaderEpochs          []EpochEntry      // every entry that starts below EndOffset
}

type AbortedTxn struct {
	ProducerID, FirstOffset, LastOffset, LastStableOffset int64
}

func (l *Log) AbortedTransactions(from, upTo int64) ([]AbortedTxn, error) { panic("skeleton") }

// Over the bytes of index files, for tiering.
func LookupOffset(index []byte, base, target int64) (position int64) { panic("skeleton") }
func LookupTime(timeIndex []byte, base, ts int64) (entry TimestampOffset, found bool) {
	panic("skeleton")
}
func ParseAbortedTxns(txnIndex []byte) ([]AbortedTxn, error) { panic("skeleton") }
