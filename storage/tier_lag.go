package storage

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/record"
)

// A topic may have a bound on how long a record stays on this disk only (varve.tier.max.lag.ms). What
// goes to the object store are closed segments, so that an active one is closed when its oldest record
// has waited for that long.

// sinceMs is when the segment's first record was written, at the latest, in unix ms. Of a segment that
// was found at start that is its file's time, or the first batch's own time if that is earlier: the
// file may have been written until the end.
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

// firstBatchMs is the time of the segment's first batch; record.NoTimestamp if it has none.
func (s *segment) firstBatchMs() int64 {
	first := record.NoTimestamp
	_ = s.scan(0, s.size.Load(), func(h record.Batch, _ int64) (bool, error) { // what cannot be read has no time
		first = h.BaseTimestamp()
		return false, nil
	})
	return first
}

// WaitsSince is when the first record at or above offset was appended, at the latest, of those that
// may go to the object store: those below the last stable offset. The zero time says that there is
// none. It takes no lock of the log.
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
		if err != nil { // it is gone, or its disk is
			return time.Time{}
		}
		return time.UnixMilli(since)
	}
	return time.Time{}
}

// late returns true if the active segment has a record that has waited for the object store as long
// as it may. One that is not decided yet cannot go there, and closing its segment would not help.
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
