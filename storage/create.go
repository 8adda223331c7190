package storage

import (
	"errors"
	"path/filepath"

	"github.com/varvelog/varve/vfs"
)

// create makes a new log, in memory only: of thousands of new partitions most
// stay empty for a while, and their directories would be all that creating them
// costs. Nothing is lost with one that was never written to.
func (l *Log) create(topicID [16]byte) {
	l.topicID.Store(&topicID)
	l.publish(segmentList{l.env.newSegment(l.path(), 0, l.config.Load(), l.env.now())})
}

// ensureDirLocked makes the directory of a new log; whoever writes the first
// file into it calls it before. When it fails, on a full disk say, the log is
// as it was and the next call tries again. What it makes is synced by the first
// flush only: a crash takes it away together with what was not flushed.
func (l *Log) ensureDirLocked() error {
	if l.onDisk {
		return nil
	}
	if err := l.dir().forget(l.env.fs, l.key); err != nil {
		return err
	}
	if err := l.env.fs.MkdirAll(l.path(), 0o755); err != nil {
		return err
	}
	// Before the first segment: a directory that a kill leaves without it is
	// nobody's, and is deleted.
	if err := l.writeMetadata(l.TopicID()); err != nil {
		return err
	}
	if len(l.supersedes) > 0 {
		// Nobody could tell the two logs apart after a crash that took the file.
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

func (l *Log) writeMetadata(id [16]byte) error {
	m := logMetadata{topicID: id, supersedes: l.supersedes}
	if err := vfs.WriteFile(l.env.fs, filepath.Join(l.path(), metadataFile), m.format(), 0o644); err != nil {
		return err
	}
	l.topicID.Store(&id)
	return nil
}
