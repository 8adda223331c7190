package storage

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"
)

// CleanerConfig holds the broker's settings for compaction, under Kafka's names below log.cleaner.
type CleanerConfig struct {
	Enable            bool
	Threads           int           // number of logs that are compacted in parallel
	DedupeBufferBytes int64         // dedupe.buffer.size: for the maps of keys of all threads
	IOBufferBytes     int64         // io.buffer.size: for reads and writes of all threads
	LoadFactor        float64       // io.buffer.load.factor: how full the map of keys gets, 0 to 1
	MaxBytesPerSecond float64       // io.max.bytes.per.second: read and written, by all threads
	Backoff           time.Duration // backoff.ms: the pause when no log is due
}

// DefaultCleanerConfig returns Kafka's default for every setting.
func DefaultCleanerConfig() CleanerConfig {
	return CleanerConfig{
		Enable: true, Threads: 1, DedupeBufferBytes: 128 << 20, IOBufferBytes: 512 << 10, LoadFactor: 0.9,
		MaxBytesPerSecond: math.MaxFloat64, Backoff: 15 * time.Second,
	}
}

// diskFullPause is how long a log is skipped after its compaction failed on a full disk, or for
// want of file descriptors or memory.
const diskFullPause = time.Minute

// cleaner compacts the logs of a manager, the one with the most urgent dirty part first.
type cleaner struct {
	logs    func() []*Log
	config  func() CleanerConfig
	cleaned func(*Log) error // writes the cleaner checkpoint of the log's directory
	env     *env
	metrics *cleanerMetrics
	pace    pacer
	busy    map[*Log]bool // logs that are being compacted; owned by run
}

// run compacts until ctx ends, and returns after the last cleaning has returned.
func (c *cleaner) run(ctx context.Context) {
	done := make(chan *Log) // each cleaning sends its log once
	c.busy = map[*Log]bool{}
	var workers sync.WaitGroup
	defer workers.Wait()
	for ctx.Err() == nil {
		cfg := c.config()
		c.pace.setRate(cfg.MaxBytesPerSecond)
		for len(c.busy) < cfg.Threads {
			l := c.pick()
			if l == nil {
				break
			}
			c.busy[l] = true
			workers.Go(func() {
				c.clean(ctx, l, c.share(cfg))
				select {
				case done <- l:
				case <-ctx.Done():
				}
			})
		}
		pause := time.NewTimer(max(cfg.Backoff, time.Millisecond))
		select {
		case l := <-done:
			delete(c.busy, l)
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// share returns the part of the common resources that one cleaning gets.
func (c *cleaner) share(cfg CleanerConfig) cleanerShare {
	n := int64(max(cfg.Threads, 1))
	return cleanerShare{
		mapBytes: cfg.DedupeBufferBytes / n, bufferBytes: cfg.IOBufferBytes / n / 2, loadFactor: cfg.LoadFactor,
		pace: &c.pace, metrics: c.metrics,
	}
}

// pick returns the log to compact next: the one that has exceeded its max.compaction.lag.ms by
// most, or else the one with the highest dirty ratio. It returns nil if no log is due.
func (c *cleaner) pick() *Log {
	now := c.env.now().UnixMilli()
	var best *Log
	var bestPart cleanable
	var dirtiest float64
	var overdue int64
	uncleanable := 0
	for _, l := range c.logs() {
		if l.usable() != nil {
			continue
		}
		if l.uncleanable() {
			uncleanable++
		}
		if c.busy[l] || l.cleaning.pausedUntil.Load() > now {
			continue
		}
		part, err := l.cleanable(now)
		if err != nil {
			c.failed(l, err)
			continue
		}
		dirtiest, overdue = max(dirtiest, part.ratio()), max(overdue, part.overdueMs)
		if cfg := l.config.Load(); part.due(cfg) && (best == nil || filthier(&part, &bestPart)) {
			best, bestPart = l, part
		}
	}
	c.metrics.dirtiest.Set(dirtiest)
	c.metrics.overdue.Set(float64(overdue) / 1000)
	c.metrics.uncleanable.Set(float64(uncleanable))
	return best
}

// filthier reports whether a is more urgent to compact than b.
func filthier(a, b *cleanable) bool {
	if a.overdueMs != b.overdueMs {
		return a.overdueMs > b.overdueMs
	}
	return a.ratio() > b.ratio()
}

// clean compacts one log and writes to the cleaner checkpoint how far the log is clean.
func (c *cleaner) clean(ctx context.Context, l *Log, share cleanerShare) {
	began := c.env.now()
	err := l.clean(ctx, share)
	if err == nil {
		c.metrics.seconds.Observe(c.env.now().Sub(began).Seconds())
		err = c.cleaned(l)
	}
	if err != nil {
		c.failed(l, err)
	}
}

// failed decides when, and whether, the log is tried again.
func (c *cleaner) failed(l *Log, err error) {
	switch {
	case errors.Is(err, errCleaningAborted), l.usable() != nil:
		// The call that has aborted it may not be done.
		l.pauseCleaning(c.config().Backoff)
		l.logger.Debug("compaction was aborted", errorAttr(err))
	case errors.Is(classify(err), ErrDiskFull), errors.Is(classify(err), ErrExhausted):
		l.pauseCleaning(diskFullPause)
		l.logger.Warn("compact log: tried again when there may be space or descriptors", slog.Duration("after", diskFullPause), errorAttr(err))
	case l.giveUpCleaning():
		l.logger.Error("compact log: not tried again until the broker restarts, so that it only grows", errorAttr(err))
	}
}
