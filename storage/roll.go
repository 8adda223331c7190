package storage

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Roll closes the active segment and begins a new one at the log's end. An empty active segment
// stays.
func (l *Log) Roll() error {
	if invariants.Enabled {
		defer l.solely("Roll")()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.usable()
	if err == nil {
		err = l.rollLocked(l.offsets.end.Load())
	}
	if err != nil {
		return fmt.Errorf("roll %s: %w", l.key, err)
	}
	l.assertLocked()
	return nil
}

// rollLocked begins a segment at base. If it fails before the new list is published the log is as
// before, and the next roll replaces the files created by then.
func (l *Log) rollLocked(base int64) error {
	list := l.list()
	old := list.active()
	empty := old.size.Load() == 0
	if empty && old.base == base {
		return nil
	}
	if err := old.seal(); err != nil {
		return classify(fmt.Errorf("write indexes of segment %d: %w", old.base, err))
	}
	if err := l.writeSnapshotLocked(base, false); err != nil {
		return classify(err)
	}
	next, err := l.createSegmentLocked(base)
	if err != nil {
		return classify(err)
	}
	if empty {
		if err = l.discardLocked(old); err != nil {
			return classify(err)
		}
		l.publish(append(slices.Clone(list[:len(list)-1]), next))
		return nil
	}
	old.index.releaseTail()
	old.times.releaseTail()
	l.publish(append(slices.Clone(list), next))
	l.updateRecoveryLocked()
	l.env.metrics.rolls.Inc()
	l.dir().flushes.add(l)
	return nil
}

// createSegmentLocked creates an empty segment with its .log. It replaces files of the same base
// that a crash or a failed roll may have left.
func (l *Log) createSegmentLocked(base int64) (*segment, error) {
	for _, ext := range []string{extLog, extIndex, extTimeIndex, extTxnIndex} {
		if err := ignoreNotExist(l.env.fs.Remove(filepath.Join(l.path(), fileName(base, ext)))); err != nil {
			return nil, err
		}
	}
	s := l.env.newSegment(l.path(), base, l.config.Load(), l.env.now())
	if err := s.createFile(); err != nil {
		return nil, fmt.Errorf("create segment %d: %w", base, err)
	}
	l.flush.created++
	return s, nil
}

// discardLocked renames the files of a segment that leaves the list. They are removed after
// file.delete.delay.ms or when the last reader is done, whichever is later. On an error the segment
// is as before, so a restart finds it.
func (l *Log) discardLocked(s *segment) error {
	if err := s.markDeleted(l.env.fs, l.env.deletions.Add(1)); err != nil {
		return fmt.Errorf("rename files of deleted segment %d: %w", s.base, err)
	}
	l.env.trash.add(trashItem{due: l.deleteAt(), drop: true, segment: s})
	return nil
}

// writeSnapshotLocked writes the producer state as of offset, which is the base of the segment that
// begins there. durable is as in vfs.ReplaceFile.
func (l *Log) writeSnapshotLocked(offset int64, durable bool) error {
	if err := vfs.ReplaceFile(l.env.fs, l.snapshotName(offset), encodeSnapshot(l.producers.producers), 0o644, durable); err != nil {
		return fmt.Errorf("write producer snapshot: %w", err)
	}
	l.snapshotAt = offset
	return nil
}

// snapshotName returns the path of the producer snapshot at an offset.
func (l *Log) snapshotName(offset int64) string {
	return filepath.Join(l.path(), fileName(offset, extSnapshot))
}

// removeSnapshot removes the producer snapshot at an offset, if there is one.
func (l *Log) removeSnapshot(offset int64) {
	err := ignoreNotExist(l.env.fs.Remove(l.snapshotName(offset)))
	if err != nil {
		l.logger.Warn("remove producer snapshot", errorAttr(err))
	}
}

// rollIfIdleLocked closes an active segment that is older than segment.ms by the clock. Otherwise
// the last records of a quiet topic would never get to the object store, or would not be compacted
// within max.compaction.lag.ms.
func (l *Log) rollIfIdleLocked(now time.Time) error {
	cfg := l.config.Load()
	s := l.list().active()
	bounded := cfg.CleanupCompact && cfg.MaxCompactionLagMs < math.MaxInt64
	if s.size.Load() == 0 || (!bounded && !cfg.copiesToRemote()) {
		return nil
	}
	began, err := s.sinceMs()
	if err != nil {
		return err
	}
	if now.UnixMilli()-began <= s.rollAfterMs(cfg) {
		return l.rollIfLateLocked(now)
	}
	return l.rollLocked(l.offsets.end.Load())
}

// syncDirLocked makes the names of the log's files durable at once, where the next step relies on
// it. After an error that is not the disk's the next flush syncs them.
func (l *Log) syncDirLocked() error {
	err := l.env.fs.SyncDir(l.path())
	if err != nil && passing(err) {
		return classify(err)
	}
	if err != nil {
		l.dir().fail(fmt.Errorf("sync directory %s: %w", l.path(), err))
		return l.dir().err()
	}
	return nil
}
