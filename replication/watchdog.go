package replication

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
)

// ErrHangs says that something which a partition needs does not return: a write, a sync, a
// deletion.
var ErrHangs = errors.New("the partition hangs")

// hangLooks is how often within MaxHang the watchdog looks. What has not moved at any of that many
// looks hangs. Looks are counted, and not time, so that a process that was stopped for a while does
// not take itself for one that hangs.
const hangLooks = 10

// watchdog finds partitions of which an append, a role change or a deletion has begun and does not
// move. A slow disk moves: the end of a log, or of what is synced of it, is another one at some
// look. What waits for the bucket is not meant: produce and fetch go on without it. Nor is a
// partition whose directory is known to have failed: it says so itself.
type watchdog struct {
	maxHang    time.Duration
	partitions func() iter.Seq[*Partition] // all that are here
	late       func(func(*job))            // calls a function with each job that is late
	logger     *slog.Logger
	metrics    *metrics

	suspects map[any]suspicion // by *Partition and *job; Run's goroutine has it
	applying atomic.Pointer[metadata.Image]

	mu      sync.Mutex
	hanging error // nil: nothing hangs
}

// suspicion is what the watchdog has seen of something that has begun.
type suspicion struct {
	mark  hangMark
	looks int  // at which it was the same, in a row
	seen  bool // at the present look
}

// hangMark is what moves while a partition does.
type hangMark struct {
	end, flushed, highWatermark, start int64
	image                              *metadata.Image
}

func newWatchdog(
	maxHang time.Duration, partitions func() iter.Seq[*Partition], late func(func(*job)), logger *slog.Logger, metrics *metrics,
) *watchdog {
	return &watchdog{
		maxHang: maxHang, partitions: partitions, late: late, logger: logger, metrics: metrics,
		suspects: map[any]suspicion{},
	}
}

// Healthy is nil unless a partition hangs for longer than MaxHang. A broker for which it is not
// must not count as alive, so that others lead its partitions.
func (m *Manager) Healthy() error {
	m.watchdog.mu.Lock()
	defer m.watchdog.mu.Unlock()
	return m.watchdog.hanging
}

func (w *watchdog) run(ctx context.Context) {
	tick := time.NewTicker(max(w.maxHang/hangLooks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

// look looks once at everything that may hang.
func (w *watchdog) look() {
	var found []error
	for p := range w.partitions() {
		mark, waits := p.hangMark()
		if waits && w.stands(p, mark) {
			found = append(found, fmt.Errorf("%s: an append does not return: %w", p.tp, ErrHangs))
		}
	}
	w.late(func(j *job) {
		if !w.stands(j, hangMark{}) {
			return
		}
		err := fmt.Errorf("%s: it cannot %s: %w", j.tp, j.what, ErrHangs)
		found = append(found, err)
		if j.hangs != nil {
			j.hangs(err)
		}
	})
	if image := w.applying.Load(); image != nil && w.stands(w, hangMark{image: image}) {
		found = append(found, fmt.Errorf("the metadata of revision %d is not applied: %w", image.Revision, ErrHangs))
	}
	for key, s := range w.suspects {
		if !s.seen {
			delete(w.suspects, key)
			continue
		}
		s.seen = false
		w.suspects[key] = s
	}
	w.report(found)
}

// stands notes that something was found to be under way, and tells whether it hangs.
func (w *watchdog) stands(key any, mark hangMark) bool {
	s := w.suspects[key]
	if s.mark != mark {
		s = suspicion{mark: mark}
	}
	s.looks, s.seen = s.looks+1, true
	w.suspects[key] = s
	return s.looks > hangLooks
}

// report shows what hangs, and logs when that begins and ends.
func (w *watchdog) report(found []error) {
	w.metrics.hanging.Set(float64(len(found)))
	w.mu.Lock()
	was := w.hanging
	w.hanging = nil
	if len(found) > 0 {
		w.hanging = fmt.Errorf("%d in all: %w", len(found), found[0])
	}
	now := w.hanging
	w.mu.Unlock()
	switch {
	case was == nil && now != nil:
		w.logger.Error("partitions hang: this broker lets its registration lapse, so that others lead",
			slog.Duration("longer_than", w.maxHang), slog.Any("error", now))
	case was != nil && now == nil:
		w.logger.Warn("no partition hangs any more")
	}
}

// hangMark is where the partition is, and whether it waits for its disk.
func (p *Partition) hangMark() (mark hangMark, waits bool) {
	if p.log.Offline() != nil {
		return mark, false
	}
	mark = hangMark{
		end: p.log.EndOffset(), flushed: p.log.FlushedOffset(),
		highWatermark: p.log.HighWatermark(), start: p.log.StartOffset(),
	}
	if !p.mu.TryLock() {
		return mark, true
	}
	p.mu.Unlock()
	if !p.config.Load().flushesEach() || mark.flushed >= mark.end {
		return mark, false
	}
	failure := p.flushFailure.Load()
	return mark, failure == nil || failure.upTo < mark.end // one that failed has returned
}
