package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Suffixes of directories that belong to a move. In between is the id of the
// data directory that the log moves to.
const (
	suffixFuture = "-future" // there: the copy. It means nothing but that the move was asked for
	suffixMoving = "-moving" // where the log was: it may be there by now, see settleMoves
)

// dirWith is a log's directory in d with a mark.
func dirWith(d *dataDir, key partitionKey, id [16]byte, suffix string) string {
	return filepath.Join(d.path, key.String()+"."+hex.EncodeToString(id[:])+suffix)
}

// trashName is a new name for the directory of a log that is to go.
func trashName(d *dataDir, key partitionKey) string { return shortName(d, key, suffixDeleteDir) }

// shortName is a new name in d with a mark, no longer than file systems take.
func shortName(d *dataDir, key partitionKey, suffix string) string {
	id := newID()
	name := dirWith(d, key, id, suffix)
	if len(filepath.Base(name)) > 255 {
		name = filepath.Join(d.path, hex.EncodeToString(id[:])+suffix)
	}
	return name
}

// switchOver makes the copy the log. The caller holds the cleaning token.
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
	// From here on the checkpoints of both directories have the log.
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
	from.checkpointSoon() // the line in the old directory is of no use
	if gone == "" {       // it had no files
		return m.discard(mv)
	}
	m.abandon(l, from, left, gone)
	return nil
}

// announce writes the checkpoints of a directory, with the log that is to come:
// below the recovery point the copy is as durable as the log is.
func (m *Manager) announce(d *dataDir) error {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	logs := m.all()
	err := classify(errors.Join(d.checkpoint(m.env.fs, logs), d.checkpointCleaned(m.env.fs, logs)))
	d.checkpointSoon() // its loop tells the logs
	if errors.Is(err, ErrStorage) {
		d.fail(err)
	}
	return err
}

// relocate makes the copy the log, in steps of which each is durable before the
// next. It holds the log's lock, so that nothing is appended meanwhile, and the
// names of its segments, so that readers wait rather than miss a file.
//
//  1. The copy is brought to the log's end.
//  2. The log's directory gets another name: now there is none. A crash: the
//     start gives it its name back, or serves nothing while the target is away.
//  3. The copy's directory gets the log's name. A crash: the copy is the log.
//
// left are the segments that the log had, gone their directory; "" if there
// was none.
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
	// If that fails nobody knows where the log is: it is offline with the target
	// until a start finds out.
	err = to.syncNames(l.env.fs)
	for _, s := range left {
		s.names.dir = gone
		s.doomed.Store(true) // a reader that misses a file looks for the log anew
	}
	l.settleIn(&target)
	l.publish(next)
	l.movedLocked()
	return left, gone, err
}

// settleIn has the log be at its new place. What is deleted since the checkpoint of
// that directory was announced is not in there.
func (l *Log) settleIn(target *place) {
	l.place.Store(target)
	l.lowerStartCheckpoint(0)
	target.dir.checkpointSoon()
}

// returnTo undoes the second step.
func (l *Log) returnTo(d *dataDir, gone string) error {
	if err := l.env.fs.Rename(gone, l.path()); err != nil {
		d.fail(fmt.Errorf("rename %s back: %w", gone, err))
		return d.err()
	}
	return d.syncNames(l.env.fs)
}

// movedLocked notes that all of the log is durable where it is now.
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

// abandon has the files go that the log had, after file.delete.delay.ms.
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
