package storage

import (
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
	l.env.checkpointSoon()
}

// EnforceRetention deletes what the topic's settings no longer keep on this
// disk, and says how many segments that was. It never touches what is at or
// above the high watermark. With remote storage enabled, a segment goes only if
// all of it is below RemoteEndOffset (or below log start, where nobody can read
// it); log start then stays where it is. Quiet active segments are closed first.
func (l *Log) EnforceRetention(now time.Time) (deleted int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.usable(); err == nil {
		l.producers.expire(now, l.env.expiration)
		if err = l.rollIfIdleLocked(now); err == nil {
			deleted, err = l.retainLocked(now)
		}
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
	list := l.list()
	if n == len(list) {
		// Everything goes: the end must survive, so that the next segment is
		// there, findable, before the last one is not.
		if err = l.rollLocked(l.offsets.end.Load()); err != nil {
			return 0, err
		}
		if err = l.syncDirLocked(); err != nil {
			return 0, err
		}
		list = l.list()
	}
	// The oldest first, and none behind one that stays: recovery would take the
	// hole for lost data.
	for i, s := range list[:n] {
		if err = l.discardLocked(s); err != nil {
			n = i
			break
		}
		l.removeSnapshot(s.base)
	}
	l.publish(append(segmentList(nil), list[n:]...))
	if !l.config.Load().copiesToRemote() {
		l.advanceStartLocked(list[n].base)
	}
	return n, err
}

// expiredLocked counts the segments, from the oldest, that may and should go.
func (l *Log) expiredLocked(now time.Time) (int, error) {
	cfg := l.config.Load()
	retainMs, retainBytes := cfg.localRetention()
	list := l.list()
	start, excess := l.offsets.start.Load(), l.Size()-retainBytes
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
			excess -= size
			continue
		}
		if !cfg.deletes() || (cfg.copiesToRemote() && end > l.offsets.remoteEnd.Load()) {
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

// olderThan says whether the segment's newest record is older than ms. Without
// timestamps the file's time stands for it.
func (l *Log) olderThan(s *segment, ms int64, now time.Time) (bool, error) {
	if ms < 0 {
		return false, nil
	}
	newest, err := s.newestMs()
	return err == nil && now.UnixMilli()-newest > ms, err
}

// newestMs is the time of the segment's newest record, or the file's.
func (s *segment) newestMs() (int64, error) {
	largest, err := s.largestTimestamp()
	if err != nil || largest.Timestamp >= 0 {
		return largest.Timestamp, err
	}
	modified, err := s.modified()
	if err != nil {
		return 0, err
	}
	return modified.UnixMilli(), nil
}
