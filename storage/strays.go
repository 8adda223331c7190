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

// Names of what is set aside: the suffix of the directory, which is Kafka's, and the
// file in it that says why.
const (
	suffixStray = "-stray"
	strayFile   = "stray.json"
)

// defaultStrayRetention is varve.log.stray.retention.ms.
const defaultStrayRetention = 7 * 24 * time.Hour

// Stray is a log that was set aside: the cluster does not have it here, and no event has
// said that it was deleted. Nothing reads or writes it any more.
type Stray struct {
	Path      string // the directory's, which ends in -stray
	Topic     string
	Partition int32
	TopicID   [16]byte  // zero: unknown
	Since     time.Time // zero: not written down; the next start does
	Reason    string
	Bytes     int64 // of all files
}

// strayValue is the content of a stray's file. The offsets are what the checkpoints had of
// the log, whose lines go when it is set aside: RestoreStray puts them back.
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

// strays are those of the directories that work.
type strays struct {
	invariants.Mutex[rankStrays]
	list []Stray
}

// strayName is a new name for the directory of a log that is set aside.
func strayName(d *dataDir, key partitionKey) string { return shortName(d, key, suffixStray) }

// SetAside takes a log out of service at once, as Delete does, and keeps its files for
// Options.StrayRetention under another name. A log that does not exist is fine.
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
		// Without the file the next start takes the log for one that was set aside then.
		if err := value.write(m.env.fs, l.path()); ignoreNotExist(err) != nil {
			l.logger.Warn("note why a log is set aside", errorAttr(err))
		}
	}
	_, aside, err := m.takeOut(key, strayName)
	if err != nil || aside == "" {
		return err
	}
	if _, err = m.env.fs.Stat(aside); errors.Is(err, fs.ErrNotExist) {
		return nil // nobody has written to it
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

// Strays are the logs that were set aside, in the directories that work.
func (m *Manager) Strays() []Stray {
	m.strays.Lock()
	defer m.strays.Unlock()
	return append([]Stray(nil), m.strays.list...)
}

// findStrays looks what earlier processes have set aside. One that lacks its file, as Kafka's
// do, is from today: none is deleted before its time. A directory that cannot
// be listed shows that elsewhere.
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

// expireStrays deletes the strays whose time has passed. Run calls it now and then.
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

// strayMetrics are read when somebody asks.
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
	// Not durable: what a crash of the machine takes of it costs a week, not data.
	return vfs.ReplaceFile(fsys, filepath.Join(dir, strayFile), append(content, '\n'), 0o644, false)
}

// readStrayValue reads a stray's file; ok is false if there is none that is sound.
func readStrayValue(fsys vfs.FS, dir string) (v strayValue, ok bool) {
	content, err := vfs.ReadFile(fsys, filepath.Join(dir, strayFile), 1<<16)
	if err != nil || json.Unmarshal(content, &v) != nil || v.Version != 0 || v.SinceMs <= 0 {
		return strayValue{}, false
	}
	key, ok := parseDirName(partitionKey{v.Topic, v.Partition}.String())
	return v, ok && key == partitionKey{v.Topic, v.Partition} && !strings.ContainsAny(v.Topic, `/\`)
}

// readStray describes a stray as far as its files say.
func readStray(fsys vfs.FS, dir string) Stray {
	s := Stray{Path: dir, Reason: "unknown"}
	if v, ok := readStrayValue(fsys, dir); ok {
		s.Topic, s.Partition, s.Since, s.Reason = v.Topic, v.Partition, time.UnixMilli(v.SinceMs), v.Reason
	} else if key, _, named := parseMovingName(filepath.Base(dir), suffixStray); named {
		s.Topic, s.Partition = key.topic, key.partition
	}
	if content, err := vfs.ReadFile(fsys, filepath.Join(dir, metadataFile), 4096); err == nil {
		m, _ := parseMetadata(content)
		s.TopicID = m.topicID // zero if it is damaged
	}
	entries, _ := fsys.ReadDir(dir) // what cannot be listed is not counted
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() {
			s.Bytes += info.Size()
		}
	}
	return s
}

// Strays lists what was set aside in a data directory. A broker may be running in it. A nil
// FS is the operating system's.
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

// KeepAll returns settings without what deletes records or copies them to the bucket: for
// a log whose topic, or whose topic's settings, could not be read.
func KeepAll(c Config) Config {
	c.CleanupDelete, c.CleanupCompact, c.RemoteCopyDisable = false, false, true
	return c
}
