package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Names for logs that were set aside: the suffix of the directory, which is Kafka's, and the file
// in it with the reason.
const (
	suffixStray = "-stray"
	strayFile   = "stray.json"
)

// defaultStrayRetention is the default of varve.log.stray.retention.ms.
const defaultStrayRetention = 7 * 24 * time.Hour

// Stray is a log that was set aside: the cluster does not have it on this broker, and no event has
// said that it was deleted. Its files are kept for Options.StrayRetention and otherwise unused.
type Stray struct {
	Path      string // of the directory, which ends in -stray
	Topic     string
	Partition int32
	TopicID   [16]byte // zero: unknown
	// Since is when it was set aside. Zero: not recorded; the next start records its own time.
	Since  time.Time
	Reason string
	Bytes  int64 // of all files
}

// strayValue is the content of a stray's file. It has the log's lines from the checkpoints, which
// are removed when the log is set aside; RestoreStray writes them back.
type strayValue struct {
	Version        int    `json:"version"`
	Topic          string `json:"topic"`
	Partition      int32  `json:"partition"`
	SinceMs        int64  `json:"since_ms"`
	Reason         string `json:"reason"`
	RecoveryPoint  int64  `json:"recovery_point"`
	LogStartOffset int64  `json:"log_start_offset"`
	HighWatermark  int64  `json:"high_watermark"`
	CleanedUpTo    int64  `json:"cleaned_up_to"`
}

// strays are the logs that were set aside in the directories that work.
type strays struct {
	invariants.Mutex[rankStrays]
	list []Stray
}

// strayName returns a new name for the directory of a log that is set aside.
func strayName(d *dataDir, key partitionKey) string { return shortName(d, key, suffixStray) }

// SetAside takes a log out of service at once, as Delete does, but keeps its files under another
// name for Options.StrayRetention. It is no error if there is no such log.
func (m *Manager) SetAside(topic string, partition int32, reason string) error {
	key := partitionKey{topic, partition}
	l, ok := m.Log(topic, partition)
	if !ok {
		return nil
	}
	if l.dir().err() == nil {
		value := strayValue{
			Topic: topic, Partition: partition, SinceMs: m.options.Now().UnixMilli(), Reason: reason,
			RecoveryPoint: l.offsets.recovery.Load(), LogStartOffset: l.StartOffset(),
			HighWatermark: l.HighWatermark(), CleanedUpTo: l.cleaning.upTo.Load(),
		}
		// Without the file the next start uses its own time: the log is kept longer, not shorter.
		if err := value.write(m.env.fs, l.path()); ignoreNotExist(err) != nil {
			l.logger.Warn("note why a log is set aside", errorAttr(err))
		}
	}
	_, aside, err := m.takeOut(key, strayName)
	if err != nil || aside == "" {
		return err
	}
	if _, err = m.env.fs.Stat(aside); errors.Is(err, fs.ErrNotExist) {
		return nil // the log had no files
	}
	s := readStray(m.env.fs, aside)
	if s.Since.IsZero() { // the file could not be written
		s.Topic, s.Partition, s.Since, s.Reason = topic, partition, m.options.Now(), reason
	}
	m.strays.Lock()
	defer m.strays.Unlock()
	m.strays.list = append(m.strays.list, s)
	return nil
}

// Strays returns the logs that were set aside, in the directories that work.
func (m *Manager) Strays() []Stray {
	m.strays.Lock()
	defer m.strays.Unlock()
	return append([]Stray(nil), m.strays.list...)
}

// findStrays finds the logs that earlier processes have set aside. A stray without its file, such
// as Kafka's, counts from today, so that none is deleted before its time (S13). A directory that
// cannot be listed is reported elsewhere.
func (m *Manager) findStrays() {
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		found, err := Strays(m.env.fs, d.path)
		if err != nil {
			m.env.logger.Warn("look for logs that were set aside", slog.String("dir", d.path), errorAttr(err))
			continue
		}
		for _, s := range found {
			if s.Since.IsZero() {
				s.Since = m.options.Now()
				value := strayValue{Topic: s.Topic, Partition: s.Partition, SinceMs: s.Since.UnixMilli(), Reason: "unknown"}
				if err = value.write(m.env.fs, s.Path); err != nil {
					m.env.logger.Warn("note when a log was set aside", slog.String("dir", s.Path), errorAttr(err))
				}
			}
			m.strays.list = append(m.strays.list, s)
		}
	}
}

// expireStrays deletes the strays whose retention has passed. Run calls it at an interval.
func (m *Manager) expireStrays(now time.Time) {
	keep := m.options.StrayRetention
	if keep < 0 {
		return
	}
	m.strays.Lock()
	defer m.strays.Unlock()
	left := m.strays.list[:0]
	for _, s := range m.strays.list {
		if now.Sub(s.Since) < keep {
			left = append(left, s)
			continue
		}
		gone := strings.TrimSuffix(s.Path, suffixStray) + suffixDeleteDir
		if err := m.env.fs.Rename(s.Path, gone); ignoreNotExist(err) != nil {
			m.env.logger.Warn("delete a log that was set aside", slog.String("dir", s.Path), errorAttr(err))
			left = append(left, s)
			continue
		}
		m.env.trash.add(trashItem{dir: gone})
		m.env.logger.Warn("deleted a log that was set aside long ago", slog.String("topic", s.Topic), slog.Int("partition", int(s.Partition)),
			slog.String("topic_id", formatUUID(s.TopicID)), slog.Time("since", s.Since), slog.Int64("bytes", s.Bytes))
	}
	clear(m.strays.list[len(left):])
	m.strays.list = left
}

// strayMetrics registers gauges that a scrape computes.
func (m *Manager) strayMetrics(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_storage_strays", Help: "Logs that were set aside because the cluster does not have them here, see varve log strays.",
	}, func() float64 { return float64(len(m.Strays())) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_storage_stray_bytes", Help: "Bytes of the logs that were set aside; they go after varve.log.stray.retention.ms.",
	}, func() float64 {
		sum := int64(0)
		for _, s := range m.Strays() {
			sum += s.Bytes
		}
		return float64(sum)
	})
}

func (v strayValue) write(fsys vfs.FS, dir string) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// Not durable: if a crash takes the file, the stray is kept for longer.
	return vfs.ReplaceFile(fsys, filepath.Join(dir, strayFile), append(content, '\n'), 0o644, false)
}

// readStrayValue reads a stray's file; ok is false if it is missing or not sound.
func readStrayValue(fsys vfs.FS, dir string) (v strayValue, ok bool) {
	content, err := vfs.ReadFile(fsys, filepath.Join(dir, strayFile), 1<<16)
	if err != nil || json.Unmarshal(content, &v) != nil || v.Version != 0 || v.SinceMs <= 0 {
		return strayValue{}, false
	}
	key, ok := parseDirName(partitionKey{v.Topic, v.Partition}.String())
	return v, ok && key == partitionKey{v.Topic, v.Partition} && !strings.ContainsAny(v.Topic, `/\`)
}

// readStray describes a stray as far as its files allow.
func readStray(fsys vfs.FS, dir string) Stray {
	s := Stray{Path: dir, Reason: "unknown"}
	if v, ok := readStrayValue(fsys, dir); ok {
		s.Topic, s.Partition, s.Since, s.Reason = v.Topic, v.Partition, time.UnixMilli(v.SinceMs), v.Reason
	} else if key, _, named := parseMovingName(filepath.Base(dir), suffixStray); named {
		s.Topic, s.Partition = key.topic, key.partition
	}
	if content, err := vfs.ReadFile(fsys, filepath.Join(dir, metadataFile), 4096); err == nil {
		m, _ := parseMetadata(content)
		s.TopicID = m.topicID // zero if the file is damaged
	}
	entries, _ := fsys.ReadDir(dir) // files that cannot be listed are not counted
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() {
			s.Bytes += info.Size()
		}
	}
	return s
}

// Strays returns the logs that were set aside in a data directory. A broker may be running in it. A
// nil FS is the operating system's.
func Strays(fsys vfs.FS, dir string) ([]Stray, error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var found []Stray
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), suffixStray) {
			found = append(found, readStray(fsys, filepath.Join(dir, e.Name())))
		}
	}
	return found, nil
}

// KeepAll returns settings without any deletion of records and without copies to the object store,
// for a log whose topic or whose topic's settings could not be read.
func KeepAll(c Config) Config {
	c.CleanupDelete, c.CleanupCompact, c.RemoteCopyDisable = false, false, true
	return c
}
