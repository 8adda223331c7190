package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Options configure a Manager. Only Dirs and Logger are required.
type Options struct {
	FS         vfs.FS   // nil: the operating system's
	Dirs       []string // paths; a new log is created in the one with the fewest logs
	LostDirs   []string // directory.ids of directories that were in use and are lost for good
	ClusterID  string   // "": the one in the directories, or a new one
	NodeID     int32
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time      // nil: time.Now
	// Config returns a topic's settings when a log is opened or created; later changes arrive
	// through SetConfig. nil: DefaultConfig.
	Config func(topic string) Config
	// Cleaner returns the settings of compaction. Enable is read once, when Run starts; the others
	// are read before each use. nil: DefaultCleanerConfig.
	Cleaner func() CleanerConfig
	// OnDirFailed is called once for each directory that fails after the start, with its
	// directory.id, from a goroutine of Run. It must not block. A directory that is offline from
	// the start is not reported; OnlineDirs leaves it out.
	OnDirFailed func(id [16]byte, err error)

	// Moving is called before a log switches to another directory, and the move waits for it. ctx
	// is cancelled if the move is given up; an error ends the move. done is called after the
	// switch, or when it has failed. Moving may be called again for the same move. nil: no
	// confirmation.
	Moving func(ctx context.Context, topic string, partition int32) (done func(), err error)

	// Watermarks returns how full the volumes of the directories may get. It is read at each check.
	// nil: no bound.
	Watermarks func() Watermarks

	RetentionInterval time.Duration // 0: 5 minutes
	// FlushInterval is the interval of the checks for flush.ms, varve.tier.max.lag.ms and deleted
	// files. 0: 1 second.
	FlushInterval      time.Duration
	CheckpointInterval time.Duration // 0: 5 seconds
	ProducerExpiration time.Duration // 0: 24 hours (producer.id.expiration.ms)
	// StrayRetention is how long the files that SetAside keeps stay (varve.log.stray.retention.ms).
	// 0: 7 days; negative: forever.
	StrayRetention time.Duration
	// MoveRate returns the bytes per second that all moves between directories copy together; it is
	// read before each block. 0 or less pauses them; nil: no limit.
	MoveRate func() int64
	// WritebackBytes are the bytes appended to an active segment after which their write-back
	// begins. 0: the system decides.
	WritebackBytes int64
	// ReserveBytes are the bytes of each disk that logs leave free (varve.log.reserve.bytes). 0:
	// none.
	ReserveBytes int64
	// StallTimeout: an operation on a disk that takes longer fails its directory. 0: 30 seconds.
	StallTimeout time.Duration
	// MaxOpenFiles is the limit of open segment files. 0: half of what the process may open, at
	// most 8192.
	MaxOpenFiles int
	// RecoveryWorkers is the number of logs that are opened in parallel. 0: twice the number of
	// CPUs.
	RecoveryWorkers int
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Config == nil {
		o.Config = func(string) Config { return DefaultConfig() }
	}
	if o.Cleaner == nil {
		o.Cleaner = DefaultCleanerConfig
	}
	if o.MoveRate == nil {
		o.MoveRate = func() int64 { return math.MaxInt64 }
	}
	if o.Watermarks == nil {
		o.Watermarks = func() Watermarks { return Watermarks{} }
	}
	if o.Moving == nil {
		o.Moving = func(context.Context, string, int32) (func(), error) { return func() {}, nil }
	}
	o.RetentionInterval = cmp.Or(o.RetentionInterval, 5*time.Minute)
	o.FlushInterval = cmp.Or(o.FlushInterval, time.Second)
	o.CheckpointInterval = cmp.Or(o.CheckpointInterval, 5*time.Second)
	o.StrayRetention = cmp.Or(o.StrayRetention, defaultStrayRetention)
	o.StallTimeout = cmp.Or(o.StallTimeout, 30*time.Second)
	o.ProducerExpiration = cmp.Or(o.ProducerExpiration, 24*time.Hour)
	o.MaxOpenFiles = cmp.Or(o.MaxOpenFiles, min(8192, vfs.OpenFileLimit()/2))
	o.RecoveryWorkers = cmp.Or(o.RecoveryWorkers, 2*runtime.NumCPU())
	return o
}

// Manager owns the logs of a broker and the directories that hold them. Its methods may be called
// concurrently.
type Manager struct {
	options   Options
	env       *env
	dirs      []*dataDir
	clusterID string
	// failed receives each directory once, when it fails in service; it has room for all of them.
	failed  chan *dataDir
	anyHung chan struct{} // closed when the first directory hangs
	cleaner cleaner
	moves   moves
	strays  strays
	// relieving is the directory from which segments are deleted because its volume is full; nil:
	// none. Directories take turns (disk_pressure.go).
	relieving atomic.Pointer[dataDir]

	mu struct {
		invariants.Mutex[rankManager]
		// logs has one log per partition. Those of directories that failed in service stay and
		// answer ErrStorage.
		logs map[partitionKey]*Log
		// rivals are second logs of partitions in logs, from other directories; only while the
		// manager opens (rivals.go).
		rivals []*Log
		closed bool
	}
	elsewhere vfs.Watch // operations outside of the directories; never checked for stalls

	// sorted is a copy of mu.logs in order; nil after logs were added or removed. It is stored and
	// cleared under mu, so that a copy from before a change cannot outlive the change.
	sorted atomic.Pointer[[]*Log]
}

// OpenManager locks the directories, opens all logs in them, and recovers those that were not shut
// down cleanly. A directory whose disk fails is left out as long as another one works. OpenManager
// starts no goroutine that outlives it; Run does the background work.
func OpenManager(ctx context.Context, o Options) (*Manager, error) {
	o = o.withDefaults()
	m := &Manager{options: o, failed: make(chan *dataDir, len(o.Dirs)), anyHung: make(chan struct{})}
	m.mu.logs = map[partitionKey]*Log{}
	m.moves.preferred = map[partitionKey]*dataDir{}
	m.env = &env{fs: vfs.NewWatched(o.FS, m.watchOf), logger: o.Logger, now: o.Now, expiration: o.ProducerExpiration, hotTail: hotTail}
	m.env.decoding.free = decodeBudget
	m.env.files.fs, m.env.files.limit = m.env.fs, o.MaxOpenFiles
	for _, path := range o.Dirs {
		m.dirs = append(m.dirs, newDataDir(m.env, path, &o, m.failed))
	}
	m.env.metrics = newMetrics(o.Registerer, gauges{
		openFiles: func() float64 { return float64(m.env.files.count()) },
		logs:      func() float64 { return float64(len(m.all())) },
		failed:    func() float64 { return float64(m.failedDirs()) },
		stalled:   func() float64 { return float64(m.stalledDirs()) },
		full:      func() float64 { return float64(m.fullDirs()) },
	})
	m.strayMetrics(o.Registerer)
	m.cleaner = cleaner{logs: m.all, config: o.Cleaner, cleaned: m.noteCleaned, env: m.env, metrics: newCleanerMetrics(o.Registerer)}
	if err := m.open(ctx); err != nil {
		for _, l := range m.all() {
			l.close()
		}
		for _, d := range m.dirs {
			err = errors.Join(err, d.unlock())
		}
		return nil, err
	}
	return m, nil
}

// ClusterID returns the id of the cluster that the directories belong to.
func (m *Manager) ClusterID() string { return m.clusterID }

// Log returns the log of a partition; false if there is none.
func (m *Manager) Log(topic string, partition int32) (*Log, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.mu.logs[partitionKey{topic, partition}]
	return l, ok
}

// Logs yields all logs, ordered by topic and partition.
func (m *Manager) Logs() iter.Seq[*Log] { return slices.Values(m.all()) }

// all returns all logs in order: a shared copy, which must not be changed.
func (m *Manager) all() []*Log {
	if p := m.sorted.Load(); p != nil {
		return *p
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	logs := make([]*Log, 0, len(m.mu.logs))
	for _, l := range m.mu.logs {
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b *Log) int { return compareKeys(a.key, b.key) })
	m.sorted.Store(&logs)
	return logs
}

// Create creates an empty log, or returns the existing one. A new log is in memory only until its
// first append: the cluster's metadata have the topic, and after a restart Create is called again.
// If the directory on disk belongs to another topic of the same name the result is
// ErrTopicIDMismatch, and the caller has to Delete that log first.
func (m *Manager) Create(topic string, partition int32, topicID [16]byte) (*Log, error) {
	return m.create(partitionKey{topic, partition}, topicID, true)
}

// Reopen is like Create, for a partition that existed before this start. If a directory has been
// offline since the start, and no other directory has the log, the log may be in the offline one.
// The caller then gets a log that answers ErrStorage to everything, until a start that finds the
// directory (S11): an empty log would lose the records.
func (m *Manager) Reopen(topic string, partition int32, topicID [16]byte) (*Log, error) {
	return m.create(partitionKey{topic, partition}, topicID, false)
}

func (m *Manager) create(key partitionKey, topicID [16]byte, isNew bool) (*Log, error) {
	cfg := m.options.Config(key.topic)
	// The removal of an earlier log becomes durable first: after a power cut the next start would
	// find the old log in one directory and the new one in another.
	if err := m.settleRemoval(key); err != nil {
		return nil, fmt.Errorf("create log %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil, fmt.Errorf("create log %s: %w", key, ErrLogClosed)
	}
	l := m.mu.logs[key]
	if l == nil {
		var err error
		if d := m.hiding(); d != nil && !isNew {
			l = m.offlineLog(d, key, topicID, cfg)
		} else if l, err = m.placeLocked(key, topicID, cfg); err != nil {
			return nil, fmt.Errorf("create log %s: %w", key, err)
		}
		m.mu.logs[key] = l
		m.sorted.Store(nil)
		return l, nil
	}
	if l.closed.Load() {
		return nil, fmt.Errorf("create log %s: %w: it is being deleted", key, ErrLogClosed)
	}
	switch l.TopicID() {
	case topicID:
	case [16]byte{}:
		l.mu.Lock() // a move must not change the path while the file is written
		err := l.writeMetadata(topicID)
		l.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("create log %s: %w", key, classify(err))
		}
	default:
		return nil, fmt.Errorf("create log %s with topic id %s: %w: it has %s", key, formatUUID(topicID), ErrTopicIDMismatch, formatUUID(l.TopicID()))
	}
	return l, nil
}

// placeLocked creates a log in the directory that Move has requested for the partition, or else in
// the one with the fewest logs.
func (m *Manager) placeLocked(key partitionKey, topicID [16]byte, cfg Config) (*Log, error) {
	d := m.moves.prefer(key)
	if d == nil || d.err() != nil {
		d = m.roomiestLocked()
	}
	if d == nil {
		return nil, fmt.Errorf("%w: every data directory failed", ErrStorage)
	}
	l := newLog(m.env, d, key, cfg)
	l.supersedes = m.offlineIDs()
	l.create(topicID)
	d.logs++
	return l, nil
}

// roomiestLocked returns the working directory with the fewest logs; nil if none works.
func (m *Manager) roomiestLocked() *dataDir {
	var best *dataDir
	for _, d := range m.dirs {
		if d.err() == nil && (best == nil || d.logs < best.logs) {
			best = d
		}
	}
	return best
}

// Delete takes a log out of service at once: its operations fail with ErrLogClosed, and slices that
// were read before stay valid. Its files are removed after file.delete.delay.ms. Deleting a missing
// log is no error.
func (m *Manager) Delete(topic string, partition int32) error {
	l, gone, err := m.takeOut(partitionKey{topic, partition}, trashName)
	if err != nil || gone == "" {
		return err
	}
	m.env.trash.add(trashItem{due: l.deleteAt(), dir: gone})
	return nil
}

// takeOut takes a log out of service and renames its directory to the result of name. It returns
// the new name: "" if there is no such log or its data directory has failed. The rename is not
// synced here: see removals.
func (m *Manager) takeOut(key partitionKey, name func(d *dataDir, key partitionKey) string) (*Log, string, error) {
	l, ok := m.Log(key.topic, key.partition)
	if !ok {
		return nil, "", nil
	}
	if l.dir().err() == nil {
		// A cleaning would write into the directory of the partition's next log.
		defer l.forbidCleaning()()
	}
	gone, err := l.retire(name)
	if err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.logs[key] != l {
		return nil, "", nil // another call has taken it out in between
	}
	delete(m.mu.logs, key)
	l.dir().logs--
	m.sorted.Store(nil)
	m.forgetMove(l)
	for _, s := range l.list() {
		s.release()
	}
	l.dir().checkpointSoon()
	if gone == "" {
		l.logger.Warn("files of a deleted log stay in a failed data directory until a start that finds it", slog.String("dir", l.dir().path))
		return l, "", nil
	}
	return l, gone, nil
}

// retire takes a log out of service and moves its directory out of the way of the partition's next
// log. The rename comes before anything else: if it fails the log stays in service and the caller
// tries again. Otherwise a new log would find the files of the old one. The segments' names change
// together with the directory, under their locks. A reader or a flush that has to open a file then
// never opens one of the new log. Manager.mu is not held during the rename, because the disk may
// hang.
//
// In a failed directory the files are left alone, and the log's lock may be held forever; gone is
// then "".
func (l *Log) retire(name func(d *dataDir, key partitionKey) string) (gone string, err error) {
	if l.dir().err() != nil {
		l.closed.Store(true)
		return "", nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	gone = name(l.dir(), l.key)
	for _, s := range l.list() {
		s.names.Lock()
		defer s.names.Unlock()
	}
	if err := l.env.fs.Rename(l.path(), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("delete log %s: %w", l.key, classify(err))
	}
	for _, s := range l.list() {
		s.names.dir = gone
	}
	l.dir().removed.add(l.key)
	l.closed.Store(true)
	return gone, nil
}

// DirUsage describes one data directory.
type DirUsage struct {
	Path        string
	DirectoryID [16]byte
	TotalBytes  int64 // of the volume; -1: unknown
	UsableBytes int64 // free on the volume; -1: unknown
	Err         error // not nil: the directory failed, and its logs answer ErrStorage
	Logs        []*Log
	Futures     []FutureLog // copies of the logs that are being moved here
}

// DirUsage returns the state of every data directory, with the logs in it.
func (m *Manager) DirUsage() []DirUsage {
	usage := make([]DirUsage, 0, len(m.dirs))
	logs := m.all()
	for _, d := range m.dirs {
		u := DirUsage{Path: d.path, DirectoryID: d.id, TotalBytes: -1, UsableBytes: -1, Err: d.err()}
		if r, ok := m.env.fs.(vfs.SpaceReporter); ok && u.Err == nil {
			if total, free, err := r.Space(d.path); err == nil {
				u.TotalBytes, u.UsableBytes = total, free
			}
		}
		for _, l := range logs {
			if l.dir() == d {
				u.Logs = append(u.Logs, l)
			}
		}
		u.Futures = m.moves.to(d)
		usage = append(usage, u)
	}
	return usage
}

// OnlineDirs returns the directory.ids of the working directories, in the order of Options.Dirs. It
// does no I/O.
func (m *Manager) OnlineDirs() [][16]byte {
	ids := make([][16]byte, 0, len(m.dirs))
	for _, d := range m.dirs {
		if d.err() == nil {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// Works reports whether the data directory with the path works. It is true for a path that is no
// data directory. It does no I/O.
func (m *Manager) Works(path string) bool {
	path = filepath.Clean(path)
	for _, d := range m.dirs {
		if d.path == path {
			return d.err() == nil
		}
	}
	return true
}

// DistrustedDirs returns the directory.ids of the directories that the last process gave up after a
// failed write or sync. Records that it acknowledged without a sync may be lost although the
// machine did not crash. The list never changes while the Manager lives. It leaves out directories
// that were offline from the start if their id is unknown. It also leaves out those that hung,
// because the kernel still holds what it has not written.
func (m *Manager) DistrustedDirs() [][16]byte {
	var ids [][16]byte
	for _, d := range m.dirs {
		if d.failedBefore && d.id != [16]byte{} {
			ids = append(ids, d.id)
		}
	}
	return ids
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
