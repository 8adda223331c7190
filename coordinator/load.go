package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/record"
)

// load fills a new machine from the log, however often that takes, and opens the
// shard. It is false when ctx has ended.
func (s *shard[M]) load(ctx context.Context) bool {
	loading := s.rt.metrics.shards.WithLabelValues("loading")
	loading.Inc()
	defer loading.Dec()
	for {
		select {
		case s.rt.loads <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		start := s.rt.opts.Now()
		count, err := s.read(ctx)
		<-s.rt.loads // not held until the next try: a log that stays unreadable must not keep the others from loading
		if err == nil {
			took := s.rt.opts.Now().Sub(start)
			s.rt.metrics.loadTime.Observe(took.Seconds())
			s.logger.LogAttrs(ctx, slog.LevelDebug, "loaded", slog.Int("records", count), slog.Duration("took", took))
			return s.open()
		}
		if ctx.Err() != nil {
			return false
		}
		s.logger.LogAttrs(ctx, slog.LevelError, "reading the coordinator's log failed; its clients wait until it succeeds",
			slog.Any("error", err))
		if !sleep(ctx, s.rt.opts.RetryBackoff) {
			return false
		}
	}
}

// read applies the whole log to a new machine.
func (s *shard[M]) read(ctx context.Context) (count int, err error) {
	s.machine = s.rt.opts.New(s.partition)
	defer func() {
		if err != nil {
			s.machine.Unloaded()
		}
	}()
	err = s.rt.opts.Log.Load(ctx, s.partition, func(b record.Batch) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if b.IsControl() {
			return nil
		}
		if b.IsTransactional() {
			// Whether such records count is told by a marker that follows them, and
			// nothing here writes them.
			s.rt.metrics.skipped.Add(float64(b.Count()))
			s.logger.LogAttrs(ctx, slog.LevelWarn, "skipped a transactional batch", slog.Int64("offset", b.BaseOffset()))
			return nil
		}
		for r, bad := range b.Records() {
			if bad != nil {
				return fmt.Errorf("read records: %w", bad)
			}
			s.apply(ctx, Record{Key: r.Key, Value: r.Value})
			count++
		}
		return nil
	})
	if err != nil {
		return count, fmt.Errorf("load partition %d: %w", s.partition, err)
	}
	return count, nil
}

// open starts the machine's timers and lets operations in, unless the shard has
// been stopped.
func (s *shard[M]) open() bool {
	s.locks = map[string]*keyLock[M]{}
	s.pending, s.inflight = nil, nil
	s.timers = newTimers[M]()
	now := s.rt.opts.Now()
	for _, t := range s.machine.Loaded(now) {
		s.timers.set(t, now)
	}
	s.rt.metrics.shards.WithLabelValues("active").Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.mu.refuse, ErrLoading) {
		s.mu.refuse = nil
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
