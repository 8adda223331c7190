package storage

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/record"
)

// A topic may bound how long a record stays on this disk only (varve.tier.max.lag.ms). Only closed
// segments are uploaded, so the active segment is closed when its oldest record has waited for that
// long.

// sinceMs returns when the segment's first record was written, at the latest, in unix ms. For a
// segment found at the start it is the file's time, or the first batch's own time if that is
// earlier, because the file's time is that of its last write.
func (s *segment) sinceMs() (int64, error) {
	if began := s.began.Load(); began != 0 {
		return began, nil
	}
	since, err := s.modifiedMs()
	if err != nil {
		return 0, err
	}
	if first := s.firstBatchMs(); first > 0 {
		since = min(since, first)
	}
	s.began.CompareAndSwap(0, since)
	return since, nil
}

// firstBatchMs returns the time of the segment's first batch, in unix ms; record.NoTimestamp if it
// has none.
func (s *segment) firstBatchMs() int64 {
	first := record.NoTimestamp
	// A batch that cannot be read has no time.
	_ = s.scan(0, s.size.Load(), func(h record.Batch, _ int64) (bool, error) {
		first = h.BaseTimestamp()
		return false, nil
	})
	return first
}

// WaitsSince returns when the first record at or above offset was appended, at the latest. It
// considers only records below the last stable offset, which may be uploaded, and returns the zero
// time if there is none. It takes no lock of the log.
func (l *Log) WaitsSince(offset int64) time.Time {
	stable := l.LastStableOffset()
	list := l.list()
	for i := max(list.find(offset), 0); i < len(list); i++ {
		s := list[i]
		if s.base >= stable {
			break
		}
		if s.size.Load() == 0 || s.end.Load() <= offset || !s.acquire() {
			continue
		}
		since, err := s.sinceMs()
		s.release()
		if err != nil { // the segment was deleted, or its disk failed
			return time.Time{}
		}
		return time.UnixMilli(since)
	}
	return time.Time{}
}

// late reports whether the active segment has a record that has waited for its upload for as long
// as it may. Records that are not below the last stable offset do not count: they cannot be
// uploaded, and closing their segment would not help.
func (l *Log) late(now time.Time) bool {
	cfg := l.config.Load()
	if cfg.MaxTierLagMs <= 0 || !cfg.copiesToRemote() || cfg.CleanupCompact {
		return false
	}
	s := l.list().active()
	if s.size.Load() == 0 || s.base >= l.LastStableOffset() || !s.acquire() {
		return false
	}
	defer s.release()
	since, err := s.sinceMs()
	return err == nil && now.UnixMilli()-since >= cfg.MaxTierLagMs
}

// rollIfLateLocked closes the active segment if it is late.
func (l *Log) rollIfLateLocked(now time.Time) error {
	if !l.late(now) {
		return nil
	}
	return l.rollLocked(l.offsets.end.Load())
}

// closeLate closes the active segments of a directory that are late.
func (m *Manager) closeLate(ctx context.Context, d *dataDir) {
	now := m.env.now()
	for _, l := range m.in(d) {
		if ctx.Err() != nil {
			return
		}
		if !l.late(now) {
			continue
		}
		err := l.rollLate(now)
		if err != nil && !errors.Is(err, ErrLogClosed) && !errors.Is(err, ErrStorage) {
			l.logger.Warn("close a segment within varve.tier.max.lag.ms", errorAttr(err))
		}
	}
}

func (l *Log) rollLate(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	err := l.rollIfLateLocked(now)
	l.assertLocked()
	return classify(err)
}
