package storage

import (
	"errors"
	"fmt"
	"time"
)

// AdvanceStartOffset moves log start forward (DeleteRecords, retention in the object store); an
// older value changes nothing. It must not pass the high watermark. The next retention deletes the
// segments wholly below.
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

// EnforceRetention deletes local segments that the topic's settings no longer keep, and returns
// their number. It never deletes records at or above the high watermark. With remote storage
// enabled log start stays, and a segment is deleted only if all of it is flushed and below
// RemoteEndOffset, or below a log start that outlives a crash (S5). It first closes quiet active
// segments.
//
// A full disk may refuse to close a segment. The closed segments are deleted all the same, because
// that makes space, and the error is returned together with their number.
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
		return 0, nil // a swap is about to replace segments; the next retention follows
	}
	n, err := l.expiredLocked(now)
	if err != nil || n == 0 {
		return 0, err
	}
	var rollErr error
	if all := len(l.list()); n == all {
		// All segments are deleted, but the end must survive a crash: the next segment's file is
		// there, durably, before the last one's is not. If it cannot be created the last segment
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

// discardFirstLocked deletes the first n segments, oldest first. It stops at an error, because
// recovery would take a hole for lost data. Log start does not change.
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

// expiredLocked counts the segments, from the oldest on, that may and should be deleted.
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

// expendableBelow is the offset below which a tiered log can do without its segments, also after a
// crash. Below the checkpointed log start nothing is read any more. A log start that is not
// checkpointed does not suffice: after a crash the older one would claim offsets that were never
// uploaded. Being uploaded does not suffice: the leader epochs of unflushed batches are in the
// batches alone, not in the epoch file.
func (l *Log) expendableBelow() int64 {
	return max(l.CheckpointedStartOffset(), min(l.offsets.remoteEnd.Load(), l.offsets.flushed.Load()))
}

// olderThan reports whether the segment's newest record is older than ms. For a log with remote
// copies the file's time counts if that record's time is in the future. A timestamp that a client
// made up must not keep this segment, and all later ones, on the disk.
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

// newestMs returns the time of the segment's newest record, in unix ms. Without timestamps it is
// the file's time.
func (s *segment) newestMs() (int64, error) {
	largest, err := s.largestTimestamp()
	if err != nil || largest.Timestamp >= 0 {
		return largest.Timestamp, err
	}
	return s.modifiedMs()
}

// modifiedMs returns the file's modification time, in unix ms.
func (s *segment) modifiedMs() (int64, error) {
	modified, err := s.modified()
	if err != nil {
		return 0, err
	}
	return modified.UnixMilli(), nil
}
