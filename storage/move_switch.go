package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Suffixes of the directories of a move. Before the suffix the name has the id of the data
// directory that the log moves to.
const (
	// In the target: the copy. It only says that the move was requested.
	suffixFuture = "-future"
	// In the source: the log may have arrived in the target, see settleMoves.
	suffixMoving = "-moving"
)

// dirWith returns the path of a log's directory in d, marked with an id and a suffix.
func dirWith(d *dataDir, key partitionKey, id [16]byte, suffix string) string {
	return filepath.Join(d.path, key.String()+"."+hex.EncodeToString(id[:])+suffix)
}

// trashName returns a new name for a log's directory that is to be removed.
func trashName(d *dataDir, key partitionKey) string { return shortName(d, key, suffixDeleteDir) }

// shortName returns a new path in d with a suffix. A name that is too long for file systems loses
// the partition.
func shortName(d *dataDir, key partitionKey, suffix string) string {
	id := newID()
	name := dirWith(d, key, id, suffix)
	if len(filepath.Base(name)) > 255 {
		name = filepath.Join(d.path, hex.EncodeToString(id[:])+suffix)
	}
	return name
}

// switchOver makes the copy the log. The caller holds the cleaning token, which keeps truncation
// and deletion out; the flush token keeps the committer out of the files that are replaced.
func (m *Manager) switchOver(mv *move, c *moveCopy) error {
	if !m.moves.commit(mv) {
		return errMoveDropped
	}
	if err := m.allOnline(); err != nil {
		return err
	}
	l, from := mv.log, mv.log.dir()
	l.flush.token.Take()
	defer l.flush.token.Release()
	// While arriving is set the checkpoints of both directories have the log.
	l.arriving.Store(mv.to)
	defer l.arriving.Store(nil)
	if err := m.announce(mv.to); err != nil {
		return err
	}
	left, gone, err := l.relocate(c)
	if l.dir() != from {
		m.mu.Lock()
		from.logs--
		mv.to.logs++
		m.mu.Unlock()
	}
	if err != nil {
		return err
	}
	from.checkpointSoon() // the log's line in the old directory is useless
	if gone == "" {       // the log had no files
		return m.discard(mv)
	}
	m.abandon(l, from, left, gone)
	return nil
}

// announce writes the checkpoints of a directory, with the log that is about to arrive. They may
// come before the log: the copy is as durable below the recovery point as the log is. They must
// come before it: a start that finds the log there without them would lose its log start and high
// watermark.
func (m *Manager) announce(d *dataDir) error {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	logs := m.all()
	err := classify(errors.Join(d.checkpoint(m.env.fs, logs), d.checkpointCleaned(m.env.fs, logs)))
	d.checkpointSoon() // the loop reports the new log starts
	if errors.Is(err, ErrStorage) {
		d.fail(err)
	}
	return err
}

// relocate makes the copy the log, in steps; each is durable before the next. It holds Log.mu, so
// that nothing is appended, and the names of the log's segments, so that readers wait and do not
// miss a file.
//
//  1. The copy is brought to the log's end.
//  2. The log's directory is renamed to -moving: no directory has the log's name. After a crash the
//     start renames it back, or serves nothing while the target is offline.
//  3. The copy's directory is renamed to the log's name. After a crash the copy is the log.
//
// left are the segments that the log had, gone is their directory, "" if there was none. l.dir()
// shows the caller whether the log has moved, also on an error.
func (l *Log) relocate(c *moveCopy) (left segmentList, gone string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.usable(); err != nil {
		return nil, "", err
	}
	from, to := l.dir(), c.move.to
	target := place{to, filepath.Join(to.path, l.key.String())}
	left = l.list()
	if !l.onDisk {
		l.settleIn(&target)
		l.publish(segmentList{l.env.newSegment(target.path, left[0].base, l.config.Load(), l.env.now())})
		left[0].release()
		return nil, "", nil
	}
	next, err := c.completeLocked(target.path)
	if err != nil {
		return nil, "", err
	}
	for _, s := range left {
		s.names.Lock()
		defer s.names.Unlock()
	}
	gone = dirWith(from, l.key, to.id, suffixMoving)
	if err = l.env.fs.Rename(l.path(), gone); err != nil {
		return nil, "", classify(err)
	}
	if err = from.syncNames(l.env.fs); err != nil {
		return nil, "", err
	}
	if err = l.env.fs.Rename(c.move.future, target.path); err != nil {
		return nil, "", errors.Join(classify(err), l.returnTo(from, gone))
	}
	// If the sync fails it is unknown where the log is after a crash. The failure takes the target
	// offline, and the log with it, until a start finds out.
	err = to.syncNames(l.env.fs)
	for _, s := range left {
		s.names.dir = gone
		s.doomed.Store(true) // a reader that misses a file loads the list again
	}
	l.settleIn(&target)
	l.publish(next)
	l.movedLocked()
	return left, gone, err
}

// settleIn makes the target the log's place. The target's checkpoint may have an older log start,
// from announce: CheckpointedStartOffset is 0 until the next checkpoint there.
func (l *Log) settleIn(target *place) {
	l.place.Store(target)
	l.lowerStartCheckpoint(0)
	target.dir.checkpointSoon()
}

// returnTo undoes the second step. If that fails the source directory fails: no directory has the
// log.
func (l *Log) returnTo(d *dataDir, gone string) error {
	if err := l.env.fs.Rename(gone, l.path()); err != nil {
		d.fail(fmt.Errorf("rename %s back: %w", gone, err))
		return d.err()
	}
	return d.syncNames(l.env.fs)
}

// movedLocked records that all of the log is durable in its new place.
func (l *Log) movedLocked() {
	end := l.offsets.end.Load()
	l.epochs.saved, _ = l.epochs.unsaved(end)
	l.snapshotAt = end
	l.flush.newDir = false
	l.flush.createdSync = l.flush.created
	l.flush.last = l.env.now()
	l.offsets.flushed.Store(end)
	l.updateRecoveryLocked()
	l.assertLocked()
}

// abandon removes the log's old files after file.delete.delay.ms.
func (m *Manager) abandon(l *Log, d *dataDir, left segmentList, gone string) {
	for _, s := range left {
		s.names.Lock()
	}
	trash := trashName(d, l.key)
	err := m.env.fs.Rename(gone, trash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.logger.Warn("rename the directory that a log has left: it goes with the next start", errorAttr(err))
		trash = gone
	}
	for _, s := range left {
		s.names.dir = trash
		s.names.Unlock()
	}
	due := l.deleteAt()
	for _, s := range left {
		m.env.trash.add(trashItem{due: due, drop: true, segment: s})
	}
	if trash != gone {
		m.env.trash.add(trashItem{due: due, dir: trash})
	}
}
