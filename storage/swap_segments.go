package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// swapOrder is the order in which a new segment's files get their next name.
// The .log comes last: while it has the old one, nothing was decided.
var swapOrder = []string{extIndex, extTimeIndex, extTxnIndex, extLog}

// swap puts a segment that was made of a group in its place. A crash leaves the
// group as it was until the .swap names are durable, and the new segment from
// then on: recovery goes on where this was (completeSwap). Readers keep the
// list, and the files, that they have.
//
// The caller holds the cleaning token, so that nobody truncates or deletes the
// log; retention sees swapping and waits.
func (l *Log) swap(g cleanGroup, made *segment) error {
	if err := l.beginSwap(g, made); err != nil {
		made.closeFiles()
		if failed := l.dir().err(); failed != nil {
			return failed // the next start finds out how far it came
		}
		return errors.Join(err, l.removeHalfSwapped(made))
	}
	defer func() {
		l.mu.Lock()
		l.cleaning.swapping = false
		l.mu.Unlock()
	}()
	if err := l.finishSwap(g, made); err != nil {
		// The list on disk and in memory may disagree now.
		l.dir().fail(fmt.Errorf("replace segments from %d on: %w", made.base, err))
		return l.dir().err()
	}
	return nil
}

// beginSwap names the files .swap, durably, if the group is still there and its
// topic still compacted. After an error the names are taken back.
func (l *Log) beginSwap(g cleanGroup, made *segment) error {
	l.mu.Lock()
	err := l.usable()
	if err == nil && (!l.config.Load().CleanupCompact || l.placeOf(g) < 0) {
		err = errCleaningAborted
	}
	l.cleaning.swapping = err == nil
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err = made.rename(l.env.fs, suffixSwap, swapOrder...); err == nil {
		err = l.env.fs.SyncDir(l.path()) // from here on the swap is decided
	}
	if err != nil && !passing(err) {
		l.dir().fail(fmt.Errorf("replace segments from %d on: %w", made.base, err))
	}
	if err != nil {
		l.mu.Lock()
		l.cleaning.swapping = false
		l.mu.Unlock()
	}
	return err
}

// placeOf is where the group is in the list; -1 if it is not, or not all of it.
func (l *Log) placeOf(g cleanGroup) int {
	list := l.list()
	i := slices.Index(list, g.segments[0])
	if i < 0 || len(list)-i <= len(g.segments) || !slices.Equal(list[i:i+len(g.segments)], g.segments) {
		return -1
	}
	return i
}

// finishSwap publishes the swap and gives the files their names. Each step is
// durable before the next, so that no file system may order them otherwise.
func (l *Log) finishSwap(g cleanGroup, made *segment) error {
	l.mu.Lock()
	i := l.placeOf(g)
	l.assertSwapLocked(g, made)
	l.publish(slices.Concat(l.list()[:i], segmentList{made}, l.list()[i+len(g.segments):]))
	l.mu.Unlock()
	for _, old := range g.segments {
		if err := old.markDeleted(l.env.fs, l.env.deletions.Add(1)); err != nil {
			return err
		}
		l.env.trash.add(trashItem{due: l.deleteAt(), drop: true, segment: old})
	}
	for _, old := range g.segments[1:] {
		l.removeSnapshot(old.base)
	}
	if err := l.env.fs.SyncDir(l.path()); err != nil {
		return err
	}
	if err := made.rename(l.env.fs, "", swapOrder...); err != nil {
		return err
	}
	// Before another cleaning writes files of the same base: a start that found the
	// .swap of this one beside the .cleaned of that one would undo this one, whose
	// old segments are gone.
	return l.env.fs.SyncDir(l.path())
}

// removeHalfSwapped removes the files of a segment that did not get so far that
// it could be swapped in, whichever of the two names they have.
func (l *Log) removeHalfSwapped(made *segment) error {
	var err error
	for _, suffix := range []string{suffixSwap, suffixCleaned} {
		for _, ext := range slices.Backward(swapOrder) { // without its .log the rest means nothing
			err = errors.Join(err, ignoreNotExist(l.env.fs.Remove(filepath.Join(l.path(), fileName(made.base, ext)+suffix))))
		}
	}
	return err
}
