package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varvelog/varve/vfs"
)

// dirsFile is in every data directory and lists all directories that the broker has: "0", the
// count, then lines "directory.id path". It is durable before a log is made. A broker that misses a
// directory therefore knows: a partition that it does not find may be in there, and must not begin
// again, empty, in another directory. The partitions themselves need not be listed. The metadata
// has all partitions of the broker, and the directories that work show which of them they hold.
const dirsFile = "log-directories"

// knownDirs maps the ids of directories to the path that each had last.
type knownDirs map[[16]byte]string

// at returns the id of the directory that was last at a path.
func (k knownDirs) at(path string) ([16]byte, bool) {
	for id, p := range k {
		if p == path {
			return id, true
		}
	}
	return [16]byte{}, false
}

func (k knownDirs) format() []byte {
	lines := make([]string, 0, len(k))
	for id, path := range k {
		lines = append(lines, formatUUID(id)+" "+path+"\n")
	}
	slices.Sort(lines)
	return fmt.Appendf(nil, "0\n%d\n%s", len(lines), strings.Join(lines, ""))
}

func parseKnownDirs(content []byte) (knownDirs, error) {
	lines, err := checkpointLines(content)
	if err != nil {
		return nil, err
	}
	known := make(knownDirs, len(lines))
	for _, line := range lines {
		id, path, ok := strings.Cut(line, " ")
		if !ok || path == "" {
			return nil, fmt.Errorf("%w: line %q, want a directory's id and path", ErrCorrupt, line)
		}
		parsed, err := parseUUID(id)
		if err != nil {
			return nil, err
		}
		known[parsed] = path
	}
	return known, nil
}

// recallDirs merges the lists of all directories that work, without the directories that are given
// up (LostDirs). A directory that is neither configured nor given up is an error: a mistake in the
// configuration must not cost the data in it.
func (m *Manager) recallDirs() (knownDirs, error) {
	known := knownDirs{}
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		content, err := vfs.ReadFile(m.env.fs, filepath.Join(d.path, dirsFile), 1<<20)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			m.leaveOut(d, d.unusable(err))
			continue
		}
		said, err := parseKnownDirs(content)
		if err != nil {
			return nil, fmt.Errorf("%w: %s is damaged (%w): remove it if no data directory is missing", ErrDirInvalid, filepath.Join(d.path, dirsFile), err)
		}
		d.recorded = true
		maps.Copy(known, said)
	}
	for _, text := range m.options.LostDirs {
		id, err := parseUUID(text)
		if err != nil {
			return nil, fmt.Errorf("%w: lost directory: %w", ErrDirInvalid, err)
		}
		delete(known, id)
	}
	for _, d := range m.dirs {
		if id, ok := known.at(d.path); ok && d.err() != nil && m.dirByID(id) == nil {
			d.id = id
		}
	}
	for id, path := range known {
		// At its own path it may be there and not be recognized: its disk fails or is not mounted.
		unseen := func(d *dataDir) bool { return d.path == path && (d.err() != nil || d.meta == nil) }
		if m.dirByID(id) == nil && !slices.ContainsFunc(m.dirs, unseen) {
			return nil, fmt.Errorf("%w: %s (directory %s) has logs of this broker and is not configured: add it to log.dirs, or tell with varve.lost.log.dirs=%[3]s that it is gone for good",
				ErrDirInvalid, path, formatUUID(id))
		}
	}
	return known, nil
}

// rememberDirs durably writes the list of directories to each directory that works.
func (m *Manager) rememberDirs(known knownDirs) {
	for _, d := range m.dirs {
		if d.id != ([16]byte{}) {
			known[d.id] = d.path
		}
	}
	content := known.format()
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		name := filepath.Join(d.path, dirsFile)
		present, err := vfs.ReadFile(m.env.fs, name, 1<<20)
		if err == nil && bytes.Equal(present, content) {
			continue
		}
		if err = vfs.ReplaceFile(m.env.fs, name, content, 0o644, true); err != nil {
			m.leaveOut(d, d.unusable(err))
		}
	}
}

// dirByID returns the directory with the id; nil if there is none.
func (m *Manager) dirByID(id [16]byte) *dataDir {
	for _, d := range m.dirs {
		if d.id == id {
			return d
		}
	}
	return nil
}

// hiding returns a directory that has been offline since startup, and so may hold any log that was
// not found. It returns nil if there is none.
func (m *Manager) hiding() *dataDir {
	for _, d := range m.dirs {
		if d.leftOut && !slices.Contains(m.options.LostDirs, formatUUID(d.id)) {
			return d
		}
	}
	return nil
}

// offlineLog returns a placeholder for a log in a directory that is offline: it answers ErrStorage.
func (m *Manager) offlineLog(d *dataDir, key partitionKey, topicID [16]byte, cfg Config) *Log {
	l := newLog(m.env, d, key, cfg)
	l.topicID.Store(&topicID)
	l.publish(segmentList{m.env.newSegment(l.path(), 0, &cfg, m.env.now())})
	return l
}
