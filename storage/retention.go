package storage

import (
	"errors"
	"fmt"
	"time"
)

// AdvanceStartOffset moves log start forward (DeleteRecords, retention in the
// object store); an older value changes nothing. It may not pass the high
// watermark. Segments wholly below go with the next retention.
func (l *Log) AdvanceStartOffset(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return fmt.Errorf("advance start of %s: %w", l.key, err)
	}
	if hw := l.offsets.hw.Load(); offset > hw {
		return fmt.Errorf("advance start of %s to %d: %w: high watermark is %d", l.key, offset, ErrOffsetOutOfRange, hw)
	}
	l.advanceStartLocked(offset)
	return nil
}

func (l *Log) advanceStartLocked(offset int64) {
	if offset <= l.offsets.start.Load() {
		return
	}
	l.offsets.start.Store(offset)
	l.epochs.truncateStart(offset)
	l.dir().checkpointSoon()
	l.assertLocked()
}

// EnforceRetention deletes what the topic's settings no longer keep on this
// disk, and says how many segments that was. It never touches what is at or
// above the high watermark. With remote storage enabled, a segment goes only if
// all of it is flushed and below RemoteEndOffset (or below log start, where nobody can
// read it); log start then stays where it is. Quiet active segments are closed first.
//
// A full disk may refuse to close a segment. The closed ones go all the same, and
// the error is returned beside their number: deleting them is what makes space.
func (l *Log) EnforceRetention(now time.Time) (deleted int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.usable(); err == nil {
		l.producers.expire(now, l.env.expiration)
		idle := l.rollIfIdleLocked(now)
		deleted, err = l.retainLocked(now)
		err = errors.Join(idle, err)
	}
	if err != nil {
		return deleted, fmt.Errorf("enforce retention of %s: %w", l.key, classify(err))
	}
	return deleted, nil
}

func (l *Log) retainLocked(now time.Time) (int, error) {
	if l.cleaning.swapping {
		return 0, nil // the next time will do
	}
	n, err := l.expiredLocked(now)
	if err != nil || n == 0 {
		return 0, err
	}
	var rollErr error
	if all := len(l.list()); n == all {
		// Everything goes: the end must survive, so that the next segment is
		// there, findable, before the last one is not. Without it the last one
		// stays.
		if rollErr = l.rollLocked(l.offsets.end.Load()); rollErr == nil {
			rollErr = l.syncDirLocked()
		}
		if rollErr != nil {
			n = all - 1
		}
		if n == 0 || l.usable() != nil {
			return 0, rollErr
		}
	}
	n, err = l.discardFirstLocked(n)
	if !l.config.Load().copiesToRemote() {
		l.advanceStartLocked(l.list()[0].base)
	}
	return n, errors.Join(rollErr, err)
}

// discardFirstLocked deletes the first n segments, fewer on an error, the oldest
// first and none behind one that stays: recovery would take the hole for lost
// data. The log start stays.
func (l *Log) discardFirstLocked(n int) (deleted int, err error) {
	l.assertExpendableLocked(n)
	list := l.list()
	for _, s := range list[:n] {
		if err = l.discardLocked(s); err != nil {
			break
		}
		l.removeSnapshot(s.base)
		deleted++
	}
	l.publish(append(segmentList(nil), list[deleted:]...))
	l.assertLocked()
	return deleted, err
}

// expiredLocked counts the segments, from the oldest, that may and should go.
func (l *Log) expiredLocked(now time.Time) (int, error) {
	cfg := l.config.Load()
	retainMs, retainBytes := cfg.localRetention()
	list := l.list()
	start, excess, expendable := l.offsets.start.Load(), l.Size()-retainBytes, l.expendableBelow()
	for i, s := range list {
		end := l.offsets.end.Load()
		if i+1 < len(list) {
			end = list[i+1].base
		}
		size := s.size.Load()
		if end > l.offsets.hw.Load() || (i == len(list)-1 && size == 0) {
			return i, nil
		}
		if end <= start {
			if cfg.RemoteStorageEnable && end > expendable {
				return i, nil
			}
			excess -= size
			continue
		}
		if !cfg.deletes() || (cfg.copiesToRemote() && end > expendable) {
			return i, nil
		}
		old, err := l.olderThan(s, retainMs, now)
		if err != nil {
			return i, err
		}
		if !old && (retainBytes < 0 || excess < size) {
			return i, nil
		}
		excess -= size
	}
	return len(list), nil
}

// expendableBelow is up to where a tiered log can do without its segments, after a crash too: below the
// log start that it then has, and what it has flushed of what is in the object store. By an older start a
// crash would take for uploaded what never was; and the leader epochs of what is not flushed are
// in its batches alone, not in the epoch file.
func (l *Log) expendableBelow() int64 {
	return max(l.CheckpointedStartOffset(), min(l.offsets.remoteEnd.Load(), l.offsets.flushed.Load()))
}

// olderThan returns true if the segment's newest record is older than ms. What the
// object store has too goes by the file's time where the newest record is of a time to
// come: a time that a client has made up keeps neither its own segment on this disk nor
// those behind it.
func (l *Log) olderThan(s *segment, ms int64, now time.Time) (bool, error) {
	if ms < 0 {
		return false, nil
	}
	newest, err := s.newestMs()
	if err == nil && newest > now.UnixMilli() && l.config.Load().copiesToRemote() {
		newest, err = s.modifiedMs()
	}
	return err == nil && now.UnixMilli()-newest > ms, err
}

// newestMs is the time of the segment's newest record. Without timestamps the file's time
// stands for it.
func (s *segment) newestMs() (int64, error) {
	largest, err := s.largestTimestamp()
	if err != nil || largest.Timestamp >= 0 {
		return largest.Timestamp, err
	}
	return s.modifiedMs()
}

// modifiedMs is the file's time.
func (s *segment) modifiedMs() (int64, error) {
	modified, err := s.modified()
	if err != nil {
		return 0, err
	}
	return modified.UnixMilli(), nil
}
