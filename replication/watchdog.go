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

// ErrHangs says that an operation that a partition needs does not return: a write, a sync, a
// deletion.
var ErrHangs = errors.New("the partition hangs")

// hangLooks is how many times per MaxHang the watchdog looks. An operation hangs if it has not
// moved at that many looks in a row. Looks are counted instead of time, so a process that was
// stopped for a while does not report hangs when it resumes.
const hangLooks = 10

// watchdog finds partitions on which an append, a role change or a deletion has begun and does not
// move. A slow disk moves: at some look the log end, or its synced end, differs. Waits for the
// bucket do not count, because produce and fetch continue without it. A partition whose directory
// is known to have failed does not count either: it reports the failure itself.
type watchdog struct {
	maxHang    time.Duration
	partitions func() iter.Seq[*Partition] // all that are here
	late       func(func(*job))            // calls a function with each job that is late
	logger     *slog.Logger
	metrics    *metrics

	suspects map[any]suspicion // by *Partition and *job; owned by the goroutine of run
	applying atomic.Pointer[metadata.Image]

	mu      sync.Mutex
	hanging error // nil: nothing hangs
}

// suspicion is what the watchdog has seen of an operation in progress.
type suspicion struct {
	mark  hangMark
	looks int  // number of consecutive looks with this mark
	seen  bool // at the present look
}

// hangMark changes while a partition makes progress.
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

// Healthy returns an error if a partition has hung for longer than MaxHang. A broker with such a
// partition must not count as alive, so that other brokers lead its partitions.
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

// stands records that an operation was found in progress, and reports whether it hangs.
func (w *watchdog) stands(key any, mark hangMark) bool {
	s := w.suspects[key]
	if s.mark != mark {
		s = suspicion{mark: mark}
	}
	s.looks, s.seen = s.looks+1, true
	w.suspects[key] = s
	return s.looks > hangLooks
}

// report publishes what hangs, and logs when that begins and ends.
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

// hangMark returns the partition's progress, and whether it waits for its disk.
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
	return mark, failure == nil || failure.upTo < mark.end // a failed sync has returned
}
