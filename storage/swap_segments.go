package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// swapOrder is the order in which the files of a new segment are renamed. The .log comes last:
// until it is renamed nothing is decided.
var swapOrder = []string{extIndex, extTimeIndex, extTxnIndex, extLog}

// swap puts a segment that was made of a group in the group's place. After a crash the group is as
// it was until the .swap names are durable; from then on the start completes the swap
// (completeSwap). Readers keep the list and the files that they have.
//
// The caller holds the cleaning token, so that the log is not truncated or deleted. Retention sees
// swapping and waits.
func (l *Log) swap(g cleanGroup, made *segment) error {
	if err := l.beginSwap(g, made); err != nil {
		made.closeFiles()
		if failed := l.dir().err(); failed != nil {
			return failed // the next start finds out which steps were done
		}
		return errors.Join(err, l.removeHalfSwapped(made))
	}
	defer func() {
		l.mu.Lock()
		l.cleaning.swapping = false
		l.mu.Unlock()
	}()
	if err := l.finishSwap(g, made); err != nil {
		// The lists on disk and in memory may differ now.
		l.dir().fail(fmt.Errorf("replace segments from %d on: %w", made.base, err))
		return l.dir().err()
	}
	return nil
}

// beginSwap renames the files to .swap, durably, if the group is still in the log and the topic is
// still compacted. After an error swap removes the files again.
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

// placeOf returns the position of the group in the list; -1 if the list does not have all of it.
func (l *Log) placeOf(g cleanGroup) int {
	list := l.list()
	i := slices.Index(list, g.segments[0])
	if i < 0 || len(list)-i <= len(g.segments) || !slices.Equal(list[i:i+len(g.segments)], g.segments) {
		return -1
	}
	return i
}

// finishSwap publishes the new segment, deletes the group's files, and gives the new files their
// names. Each step is durable before the next one, so that no file system can reorder them.
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
	// The old names are gone, durably, before the new files get theirs: see completeSwap.
	if err := l.env.fs.SyncDir(l.path()); err != nil {
		return err
	}
	if err := made.rename(l.env.fs, "", swapOrder...); err != nil {
		return err
	}
	// Before another cleaning writes files of the same base: a start that found this .swap beside
	// that .cleaned would undo this swap, whose old segments are gone.
	return l.env.fs.SyncDir(l.path())
}

// removeHalfSwapped removes the files of a new segment that was not swapped in, under either of the
// two names that they may have.
func (l *Log) removeHalfSwapped(made *segment) error {
	var err error
	for _, suffix := range []string{suffixSwap, suffixCleaned} {
		for _, ext := range slices.Backward(swapOrder) { // without its .log the rest is leftovers
			err = errors.Join(err, ignoreNotExist(l.env.fs.Remove(filepath.Join(l.path(), fileName(made.base, ext)+suffix))))
		}
	}
	return err
}
