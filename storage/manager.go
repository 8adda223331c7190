package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/vfs"
)

// Options configure a Manager. Only Dirs and Logger must be given.
type Options struct {
	FS         vfs.FS   // nil: the operating system's
	Dirs       []string // new logs go to the one with the fewest
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

	RetentionInterval  time.Duration // 0: 5 minutes
	FlushInterval      time.Duration // 0: 1 second; how often flush.ms and deleted files are looked after
	CheckpointInterval time.Duration // 0: 5 seconds
	ProducerExpiration time.Duration // 0: 24 hours (producer.id.expiration.ms)
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
	o.RetentionInterval = cmp.Or(o.RetentionInterval, 5*time.Minute)
	o.FlushInterval = cmp.Or(o.FlushInterval, time.Second)
	o.CheckpointInterval = cmp.Or(o.CheckpointInterval, 5*time.Second)
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
	cleaner   cleaner

	mu struct {
		sync.Mutex
		logs   map[partitionKey]*Log
		closed bool
	}
	// checkpointing admits one writer of checkpoints at a time; it comes before
	// all other locks.
	checkpointing sync.Mutex

	// sorted is a copy of the logs; nil when logs were added or removed since.
	sorted atomic.Pointer[[]*Log]
}

// OpenManager locks the directories, opens all logs in them, and recovers those
// that no clean shutdown left behind. It starts nothing; Run does.
func OpenManager(ctx context.Context, o Options) (*Manager, error) {
	o = o.withDefaults()
	m := &Manager{options: o, failed: make(chan *dataDir, len(o.Dirs))}
	m.mu.logs = map[partitionKey]*Log{}
	m.env = &env{fs: o.FS, logger: o.Logger, now: o.Now, expiration: o.ProducerExpiration, checkpoint: make(chan struct{}, 1)}
	m.env.files.fs, m.env.files.limit = o.FS, o.MaxOpenFiles
	m.env.flushes.queued, m.env.flushes.wake = map[*Log]bool{}, make(chan struct{}, 1)
	m.env.metrics = newMetrics(o.Registerer, func() float64 { return float64(m.env.files.count()) }, func() float64 { return float64(len(m.all())) })
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

func (m *Manager) open(ctx context.Context) error {
	if len(m.options.Dirs) == 0 {
		return fmt.Errorf("%w: none is configured", ErrDirInvalid)
	}
	for _, path := range m.options.Dirs {
		d := &dataDir{path: filepath.Clean(path), failed: m.failed}
		d.checkpoints.written = map[string][]byte{}
		m.dirs = append(m.dirs, d)
		if err := d.open(m.env.fs); err != nil {
			return err
		}
	}
	m.clusterID = m.options.ClusterID
	for _, d := range m.dirs {
		want := metaProperties{clusterID: m.clusterID, nodeID: m.options.NodeID, directoryID: newID()}
		if want.clusterID == "" {
			want.clusterID = m.existingClusterID()
		}
		id, err := d.claim(m.env.fs, want, m.options.Now())
		if err != nil {
			return err
		}
		m.clusterID = id
	}
	return m.loadAll(ctx)
}

// existingClusterID is the cluster that one of the directories names; without
// any, a new one is founded.
func (m *Manager) existingClusterID() string {
	for _, d := range m.dirs {
		content, err := vfs.ReadFile(m.env.fs, filepath.Join(d.path, metaFile), 1<<16)
		if err != nil {
			continue
		}
		if have, err := parseMetaProperties(content); err == nil {
			return have.clusterID
		}
	}
	return formatUUID(newID())
}

// loadAll opens every log, several at a time.
func (m *Manager) loadAll(ctx context.Context) error {
	began := m.options.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(m.options.RecoveryWorkers)
	for _, d := range m.dirs {
		if err := m.loadDir(ctx, g, d); err != nil {
			return errors.Join(err, g.Wait())
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	m.env.logger.Info("logs opened", slog.Int("logs", len(m.mu.logs)), slog.Duration("took", m.options.Now().Sub(began)))
	return nil
}

// loadDir lists a directory and begins to open its logs.
func (m *Manager) loadDir(ctx context.Context, g *errgroup.Group, d *dataDir) error {
	offsets := d.readCheckpoints(m.env.fs, m.env.logger)
	keys, deleted, err := d.partitions(m.env.fs)
	if err != nil {
		return err
	}
	for _, dir := range deleted {
		m.env.trash.add(trashItem{dir: dir})
	}
	for _, key := range keys {
		if other := m.mu.logs[key]; other != nil {
			return fmt.Errorf("%w: partition %s is in %s and in %s: remove the older one", ErrDirInvalid, key, other.dir.path, d.path)
		}
		l := newLog(m.env, d, key, m.options.Config(key.topic))
		m.mu.logs[key] = l
		d.logs++
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := l.load(offsets.of(d, key)); err != nil {
				return fmt.Errorf("open log %s in %s: %w", key, d.path, err)
			}
			return nil
		})
	}
	return m.startCheckpoints(d, offsets)
}

// startCheckpoints makes sure that there is a recovery checkpoint from the
// first day on: without the file nobody could tell a new log from one whose
// recovery point was lost.
func (m *Manager) startCheckpoints(d *dataDir, offsets checkpointed) error {
	if d.hasRecovery || len(offsets.recovery) > 0 || d.logs > 0 {
		return nil
	}
	err := d.writeCheckpoint(m.env.fs, recoveryFile, func() map[partitionKey]int64 { return nil })
	if err != nil {
		return d.unusable(err)
	}
	return nil
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

// Create opens a new, empty log, or returns the one that exists. What it makes
// on disk is synced by the first flush only: that the topic exists is known
// from the metadata, and after a crash Create is called again. A directory of
// another topic with the same name is ErrTopicIDMismatch: Delete it first.
func (m *Manager) Create(topic string, partition int32, topicID [16]byte) (*Log, error) {
	key := partitionKey{topic, partition}
	cfg := m.options.Config(topic)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil, fmt.Errorf("create log %s: %w", key, ErrLogClosed)
	}
	l := m.mu.logs[key]
	if l == nil {
		d := m.roomiestLocked()
		if d == nil {
			return nil, fmt.Errorf("create log %s: %w: every data directory failed", key, ErrStorage)
		}
		l = newLog(m.env, d, key, cfg)
		if err := l.create(topicID); err != nil {
			return nil, fmt.Errorf("create log %s: %w", key, classify(err))
		}
		d.logs++
		m.mu.logs[key] = l
		m.sorted.Store(nil)
		return l, nil
	}
	switch l.TopicID() {
	case topicID:
	case [16]byte{}:
		if err := l.writeMetadata(topicID); err != nil {
			return nil, fmt.Errorf("create log %s: %w", key, classify(err))
		}
	default:
		return nil, fmt.Errorf("create log %s with topic id %s: %w: it has %s", key, formatUUID(topicID), ErrTopicIDMismatch, formatUUID(l.TopicID()))
	}
	return l, nil
}

func (m *Manager) roomiestLocked() *dataDir {
	var best *dataDir
	for _, d := range m.dirs {
		if d.err() == nil && (best == nil || d.logs < best.logs) {
			best = d
		}
	}
	return best
}

// create makes the directory of a new log. Its first segment's file comes with
// the first append.
func (l *Log) create(topicID [16]byte) error {
	if err := l.dir.forget(l.env.fs, l.key); err != nil {
		return err
	}
	if err := l.env.fs.MkdirAll(l.path, 0o755); err != nil {
		return err
	}
	if err := l.writeMetadata(topicID); err != nil {
		return err
	}
	l.publish(segmentList{l.env.newSegment(l.path, 0, l.config.Load(), l.env.now())})
	l.flush.newDir = true
	return nil
}

func (l *Log) writeMetadata(id [16]byte) error {
	if err := vfs.WriteFile(l.env.fs, filepath.Join(l.path, metadataFile), formatMetadata(id), 0o644); err != nil {
		return err
	}
	l.topicID.Store(&id)
	return nil
}

// Delete takes a log out of service at once: its operations fail with
// ErrLogClosed, slices that were read stay valid. The files go after
// file.delete.delay.ms. A log that does not exist is fine.
func (m *Manager) Delete(topic string, partition int32) error {
	key := partitionKey{topic, partition}
	if l, ok := m.Log(topic, partition); ok {
		defer l.forbidCleaning()() // it would write into a new log's directory
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.mu.logs[key]
	if l == nil {
		return nil
	}
	id := newID()
	gone := filepath.Join(l.dir.path, key.String()+"."+hex.EncodeToString(id[:])+suffixDeleteDir)
	if len(filepath.Base(gone)) > 255 { // longer than file systems take
		gone = filepath.Join(l.dir.path, hex.EncodeToString(id[:])+suffixDeleteDir)
	}
	l.mu.Lock()
	l.closed.Store(true)
	err := l.env.fs.Rename(l.path, gone)
	l.mu.Unlock()
	delete(m.mu.logs, key)
	l.dir.logs--
	m.sorted.Store(nil)
	for _, s := range l.list() {
		s.release()
	}
	m.env.checkpointSoon()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete log %s: %w", key, classify(err))
	}
	m.env.trash.add(trashItem{due: l.deleteAt(), dir: gone})
	return nil
}

// DirUsage describes one data directory.
type DirUsage struct {
	Path        string
	DirectoryID [16]byte
	TotalBytes  int64 // of the volume; -1 unknown
	UsableBytes int64 // free on the volume; -1 unknown
	Err         error // not nil: it failed, and its logs answer ErrStorage
	Logs        []*Log
}

// DirUsage describes every data directory and the logs in it.
func (m *Manager) DirUsage() []DirUsage {
	usage := make([]DirUsage, 0, len(m.dirs))
	logs := m.all()
	for _, d := range m.dirs {
		u := DirUsage{Path: d.path, DirectoryID: d.id, TotalBytes: -1, UsableBytes: -1, Err: d.err()}
		if r, ok := m.env.fs.(vfs.SpaceReporter); ok {
			if total, free, err := r.Space(d.path); err == nil {
				u.TotalBytes, u.UsableBytes = total, free
			}
		}
		for _, l := range logs {
			if l.dir == d {
				u.Logs = append(u.Logs, l)
			}
		}
		usage = append(usage, u)
	}
	return usage
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
