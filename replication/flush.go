package replication

import (
	"context"
	"log/slog"
	"sync"
)

// flushWorkers is how many logs are synced at a time. The disk decides what that brings; appends that come while a sync runs share the
// next one.
const flushWorkers = 8

// flusher syncs the logs of topics that want it. A partition is in the queue at most once, so the queue is bounded by their number.
type flusher struct {
	brokerID int32
	logger   *slog.Logger
	metrics  *metrics

	mu struct {
		sync.Mutex
		queue []*Partition
	}
	wake chan struct{} // one token: the queue is not empty
}

// flushFailure is a sync that failed, for whoever waits for an offset below upTo.
type flushFailure struct {
	upTo int64
	err  error
}

func newFlusher(brokerID int32, logger *slog.Logger, m *metrics) *flusher {
	return &flusher{brokerID: brokerID, logger: logger, metrics: m, wake: make(chan struct{}, 1)}
}

// flushState is where a partition stands with the flusher.
type flushState uint8

const (
	flushIdle    flushState = iota
	flushQueued             // in the queue
	flushRunning            // being synced
	flushAgain              // being synced, and appended to since
)

// schedule has everything that is in the log now synced soon.
func (f *flusher) schedule(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch p.flushState {
	case flushIdle:
		f.pushLocked(p)
	case flushRunning:
		p.flushState = flushAgain // one sync will do for all that come until this one ends
	case flushQueued, flushAgain:
	}
}

func (f *flusher) pushLocked(p *Partition) {
	p.flushState = flushQueued
	f.mu.queue = append(f.mu.queue, p)
	f.signal()
}

func (f *flusher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *flusher) next() *Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.mu.queue) == 0 {
		return nil
	}
	p := f.mu.queue[0]
	f.mu.queue[0] = nil
	f.mu.queue = f.mu.queue[1:]
	p.flushState = flushRunning
	if len(f.mu.queue) > 0 {
		f.signal()
	}
	return p
}

// run syncs until ctx ends.
func (f *flusher) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range flushWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-f.wake:
				}
				for p := f.next(); p != nil && ctx.Err() == nil; p = f.next() {
					f.sync(ctx, p)
					f.done(p)
				}
			}
		})
	}
	workers.Wait()
}

func (f *flusher) done(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.flushState == flushAgain {
		f.pushLocked(p)
		return
	}
	p.flushState = flushIdle
}

func (f *flusher) sync(ctx context.Context, p *Partition) {
	end := p.log.EndOffset()
	err := p.log.Flush(ctx, end)
	f.metrics.flushes.Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.flushFailure.Store(&flushFailure{upTo: end, err: err})
		p.watchers.wake()
		f.logger.LogAttrs(ctx, slog.LevelError, "log cannot be synced, its appends are not acknowledged",
			slog.String("partition", p.tp.String()), slog.Any("error", err))
		return
	}
	if p.role.Load().leader {
		p.advanceLocked()
	}
}
