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

// Options configure a Manager. Only Dirs and Logger must be given.
type Options struct {
	FS         vfs.FS   // nil: the operating system's
	Dirs       []string // new logs go to the one with the fewest
	LostDirs   []string // ids of directories that were used and are gone for good
	ClusterID  string   // "" takes the one that the directories have
	NodeID     int32
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time      // nil: time.Now
	// Config gives a topic's settings when its log is opened or created;
	// later ones come by SetConfig. nil: DefaultConfig.
	Config func(topic string) Config
	// Cleaner gives the settings of compaction; those in force are asked for
	// again and again, but for Enable. nil: DefaultCleanerConfig.
	Cleaner func() CleanerConfig
	// OnDirFailed is called once for each directory that fails after the start,
	// with its directory.id, from a goroutine of Run. It must not block. A directory
	// that was offline from the start is not reported: OnlineDirs lacks it.
	OnDirFailed func(id [16]byte, err error)

	// Moving is called when a log is about to be in another directory; the move waits
	// for it, and may be given up meanwhile. done is called when the log is there, or is
	// not going to be. It may be called again for the same move. nil: nobody is asked.
	Moving func(ctx context.Context, topic string, partition int32) (done func(), err error)

	// Watermarks say how full the volumes of the directories may get, asked again and again. nil: they
	// may get full.
	Watermarks func() Watermarks

	RetentionInterval  time.Duration // 0: 5 minutes
	FlushInterval      time.Duration // 0: 1 second; how often flush.ms and deleted files are looked after
	CheckpointInterval time.Duration // 0: 5 seconds
	ProducerExpiration time.Duration // 0: 24 hours (producer.id.expiration.ms)
	StrayRetention     time.Duration // 0: 7 days, negative: for ever (varve.log.stray.retention.ms); of what SetAside keeps
	MoveRate           func() int64  // bytes a second that moves between directories copy together, asked again and again; nil: no limit
	WritebackBytes     int64         // of an active segment, after which they begin to go to the disk; 0: when the system sees fit
	ReserveBytes       int64         // of a disk that logs leave free (varve.log.reserve.bytes); 0: none
	StallTimeout       time.Duration // 0: 30 seconds; an operation on a disk that takes longer fails its directory
	MaxOpenFiles       int           // of segments; 0: half of what the process may open, at most 8192
	RecoveryWorkers    int           // 0: twice the CPUs
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

// Manager owns the logs of a broker and the directories they are in.
type Manager struct {
	options   Options
	env       *env
	dirs      []*dataDir
	clusterID string
	failed    chan *dataDir
	anyHung   chan struct{} // closed when the first directory hangs
	cleaner   cleaner
	moves     moves
	strays    strays
	relieving atomic.Pointer[dataDir] // from which segments are deleted because its volume is full

	mu struct {
		invariants.Mutex[rankManager]
		logs   map[partitionKey]*Log
		rivals []*Log // found beside those in logs; only while the manager opens
		closed bool
	}
	elsewhere vfs.Watch // of operations outside of the directories; nobody looks at it

	// sorted is a copy of the logs; nil when logs were added or removed since.
	sorted atomic.Pointer[[]*Log]
}

// OpenManager locks the directories, opens all logs in them, and recovers those
// that no clean shutdown left behind. A directory whose disk fails is left out
// as long as another one works. It starts nothing; Run does.
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

// ClusterID is the cluster that the directories belong to.
func (m *Manager) ClusterID() string { return m.clusterID }

// Log finds the log of a partition.
func (m *Manager) Log(topic string, partition int32) (*Log, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.mu.logs[partitionKey{topic, partition}]
	return l, ok
}

// Logs yields all logs by topic and partition.
func (m *Manager) Logs() iter.Seq[*Log] { return slices.Values(m.all()) }

// all is a sorted copy that is kept until logs come or go.
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

// Create opens a new, empty log, or returns the one that exists. A new log is
// in memory only until its first append: that the topic exists is known from
// the metadata, and after a restart Create is called again. A directory of
// another topic with the same name is ErrTopicIDMismatch: Delete it first.
func (m *Manager) Create(topic string, partition int32, topicID [16]byte) (*Log, error) {
	return m.create(partitionKey{topic, partition}, topicID, true)
}

// Reopen is Create for a partition that was here before this start. While a
// directory is offline since then, a log that is in none of the others may be in
// that one: instead of an empty log the caller gets one that answers ErrStorage
// to everything, until a start that finds the directory.
func (m *Manager) Reopen(topic string, partition int32, topicID [16]byte) (*Log, error) {
	return m.create(partitionKey{topic, partition}, topicID, false)
}

func (m *Manager) create(key partitionKey, topicID [16]byte, isNew bool) (*Log, error) {
	cfg := m.options.Config(key.topic)
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
		l.mu.Lock() // so that it is not moved meanwhile
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

// placeLocked makes a log in the directory that Move has asked for, or in that
// with the fewest.
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

// roomiestLocked is the directory that works and has the fewest logs.
func (m *Manager) roomiestLocked() *dataDir {
	var best *dataDir
	for _, d := range m.dirs {
		if d.err() == nil && (best == nil || d.logs < best.logs) {
			best = d
		}
	}
	return best
}

// Delete takes a log out of service at once: its operations fail with
// ErrLogClosed, slices that were read stay valid. The files go after
// file.delete.delay.ms. A log that does not exist is fine.
func (m *Manager) Delete(topic string, partition int32) error {
	l, gone, err := m.takeOut(partitionKey{topic, partition}, trashName)
	if err != nil || gone == "" {
		return err
	}
	m.env.trash.add(trashItem{due: l.deleteAt(), dir: gone})
	return nil
}

// takeOut takes a log out of service and gives its directory, if it has one, another name,
// which it returns: "" if there is no such log, or if its data directory has failed.
func (m *Manager) takeOut(key partitionKey, name func(d *dataDir, key partitionKey) string) (*Log, string, error) {
	l, ok := m.Log(key.topic, key.partition)
	if !ok {
		return nil, "", nil
	}
	if l.dir().err() == nil {
		defer l.forbidCleaning()() // it would write into a new log's directory
	}
	gone, err := l.retire(name)
	if err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.logs[key] != l {
		return nil, "", nil // another call has taken it out meanwhile
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

// retire takes a log out of service and its directory out of the way of a new log
// of its name. Without the rename that one would find the old one's files: then
// the log stays, and the caller tries again. The names of the segments change with
// the directory, so that a reader or a flush that has to open a file does not get
// one of the new log. The manager's lock is not held meanwhile: the disk may hang.
//
// In a failed directory the files are no business of this process any more, and the
// log's lock may be held for ever. Then gone is "".
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
	TotalBytes  int64 // of the volume; -1 unknown
	UsableBytes int64 // free on the volume; -1 unknown
	Err         error // not nil: it failed, and its logs answer ErrStorage
	Logs        []*Log
	Futures     []FutureLog // of logs that are being moved here
}

// DirUsage describes every data directory and the logs in it.
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

// OnlineDirs lists the directory.ids of the directories that work, in the order
// of Options.Dirs. It does no I/O.
func (m *Manager) OnlineDirs() [][16]byte {
	ids := make([][16]byte, 0, len(m.dirs))
	for _, d := range m.dirs {
		if d.err() == nil {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// Works returns false if the data directory with the path has failed. It does no I/O.
func (m *Manager) Works(path string) bool {
	path = filepath.Clean(path)
	for _, d := range m.dirs {
		if d.path == path {
			return d.err() == nil
		}
	}
	return true
}

// DistrustedDirs lists the directory.ids of the directories that the last process
// gave up after a failed write or sync: what it had acknowledged without a sync may
// be gone although the machine did not crash. The list is the same for as long as
// the Manager lives; it lacks directories that were offline from the start and whose
// id is unknown, and those that hung: the kernel still has what it did not write.
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
