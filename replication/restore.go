package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

const (
	// restoreWorkers is how many followers take their state from the bucket at the same time.
	restoreWorkers = 4
	// restoreQueue is how many more may wait. Beyond that, a follower fetches from its leader again
	// first.
	restoreQueue = 256
)

// restores handles followers whose next records are no longer on the leader's disk but only in the
// bucket. It restarts each log at the end of the uploaded range, without the records, and takes log
// start, leader epochs and producers from the bucket. The follower then fetches from its leader as
// usual.
type restores struct {
	metrics *metrics
	logger  *slog.Logger
	queue   chan *Partition
}

func newRestores(logger *slog.Logger, metrics *metrics) *restores {
	return &restores{metrics: metrics, logger: logger, queue: make(chan *Partition, restoreQueue)}
}

// add queues a partition. The partition is not fetched until its restore has ended.
func (r *restores) add(p *Partition) {
	if p.restoring.Swap(true) {
		return
	}
	select {
	case r.queue <- p:
	default:
		p.restoring.Store(false)
	}
}

// run works until ctx ends.
func (r *restores) run(ctx context.Context) { consume(ctx, restoreWorkers, r.queue, r.process) }

func (r *restores) process(ctx context.Context, p *Partition) {
	defer p.restoring.Store(false)
	err := p.restore(ctx)
	switch {
	case err == nil:
		r.metrics.restores.WithLabelValues("restored").Inc()
	case ctx.Err() == nil:
		r.metrics.restores.WithLabelValues("failed").Inc()
		r.logger.Warn("a follower cannot take its state from the remote tier; trying again", slog.String("partition", p.tp.String()), slog.Any("error", err))
	}
}

// restore restarts the log where the remote tier ends.
func (p *Partition) restore(ctx context.Context) error {
	if p.tier == nil {
		return fmt.Errorf("restore %s: there is no bucket: %w", p.tp, ErrColdReadFailed)
	}
	before := p.role.Load()
	state, err := p.tier.LatestState(ctx, p.tp)
	if err != nil {
		return fmt.Errorf("restore %s: %w", p.tp, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.role.Load()
	if !r.ReplicatesAt(before.LeaderEpoch) {
		return nil // another leader may have the offset; the next fetch shows it
	}
	end := p.log.EndOffset()
	if state.EndOffset <= end {
		return fmt.Errorf("restore %s: the log ends at %d, the remote tier already at %d: %w", p.tp, end, state.EndOffset, errNothingNew)
	}
	if err = p.log.StartFromRemote(ctx, state); err != nil {
		return fmt.Errorf("restore %s: %w", p.tp, err)
	}
	p.logger.Info("a follower goes on where the remote tier ends", slog.String("partition", p.tp.String()), slog.Int64("log_start", state.StartOffset),
		slog.Int64("from", end), slog.Int64("to", state.EndOffset), slog.Int("leader_epoch", int(r.LeaderEpoch)))
	p.watchers.wake()
	return nil
}

// errNothingNew says that the manifest that was read does not cover what the leader has already
// deleted from its disk. Such a state does not last.
var errNothingNew = errors.New("it tells nothing new")
