package storage

import (
	"errors"
	"path/filepath"

	"github.com/varvelog/varve/vfs"
)

// create makes a new log, in memory only. Of thousands of new partitions most stay empty for a
// while, and creating their directories would be the only cost. A log that was never written to has
// nothing to lose in a crash.
func (l *Log) create(topicID [16]byte) {
	l.topicID.Store(&topicID)
	l.publish(segmentList{l.env.newSegment(l.path(), 0, l.config.Load(), l.env.now())})
}

// ensureDirLocked makes the directory of a new log. It must be called before the first file is
// written there. If it fails, for example on a full disk, the log is unchanged and the next call
// tries again. Except as noted below, only the first flush syncs what it makes: a crash of the
// machine removes it together with the unflushed batches.
func (l *Log) ensureDirLocked() error {
	if l.onDisk {
		return nil
	}
	// Before the directory exists: a new log must not inherit offsets of an older one with its
	// name.
	if err := l.dir().forget(l.env.fs, l.key); err != nil {
		return err
	}
	if err := l.env.fs.MkdirAll(l.path(), 0o755); err != nil {
		return err
	}
	// Before the first segment: a kill in between must not leave batches without a topic id. Create
	// would take such a log for the log of any topic with this name.
	if err := l.writeMetadata(l.TopicID()); err != nil {
		return err
	}
	if len(l.supersedes) > 0 {
		// Synced at once: after a crash that takes the file, the next start could not tell which of
		// the two logs is newer (rivals.go).
		if err := vfs.SyncFile(l.env.fs, filepath.Join(l.path(), metadataFile)); err != nil {
			return err
		}
		if err := errors.Join(l.env.fs.SyncDir(l.path()), l.env.fs.SyncDir(l.dir().path)); err != nil {
			return err
		}
	}
	l.onDisk, l.flush.newDir = true, true
	return nil
}

// writeMetadata writes the log's partition.metadata, not durably, and sets the topic id.
func (l *Log) writeMetadata(id [16]byte) error {
	m := logMetadata{topicID: id, supersedes: l.supersedes}
	if err := vfs.WriteFile(l.env.fs, filepath.Join(l.path(), metadataFile), m.format(), 0o644); err != nil {
		return err
	}
	l.topicID.Store(&id)
	return nil
}
