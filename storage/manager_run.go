package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/vfs"
)

// Run does the background work until ctx ends: flushes, write-back, retention, compaction,
// checkpoints, moves between directories, and the removal of deleted files. It returns an error
// early if every data directory has failed. Close follows it. Goroutines that hang in a disk are
// left behind (stall.go).
func (m *Manager) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.watchDirs(ctx) })
	g.Go(func() error { m.watchStalls(ctx); return nil })
	for _, d := range m.dirs {
		g.Go(func() error { m.runDir(ctx, d); return nil })
	}
	if m.options.Cleaner().Enable {
		g.Go(func() error {
			waitUnlessHung(ctx, func() { m.cleaner.run(ctx) }, m.anyHung)
			return nil
		})
	}
	g.Go(func() error {
		waitUnlessHung(ctx, func() {
			every(ctx, m.options.RetentionInterval, func(context.Context) { m.expireStrays(m.env.now()) })
		}, m.anyHung)
		return nil
	})
	return g.Wait()
}

// every calls f at once and then at each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func(context.Context)) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		f(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchDirs reports failed directories, and returns an error when none is left.
func (m *Manager) watchDirs(ctx context.Context) error {
	for {
		select {
		case d := <-m.failed:
			if m.options.OnDirFailed != nil {
				m.options.OnDirFailed(d.id, d.err())
			}
			if d.stalled.Load() {
				m.tellWaiting(d)
			}
			m.env.logger.Error("data directory failed: its partitions serve nothing until the broker restarts",
				slog.String("dir", d.path), errorAttr(d.err()))
			if m.failedDirs() == len(m.dirs) {
				return fmt.Errorf("every data directory failed: %w", d.err())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// retentionLoop starts at a random moment of its interval, so that the brokers of a cluster do not
// all delete at once.
func (m *Manager) retentionLoop(ctx context.Context, d *dataDir) {
	first := time.NewTimer(rand.N(m.options.RetentionInterval) + 1)
	defer first.Stop()
	select {
	case <-first.C:
	case <-ctx.Done():
		return
	}
	every(ctx, m.options.RetentionInterval, func(ctx context.Context) {
		for _, l := range m.in(d) {
			if ctx.Err() != nil {
				return
			}
			deleted, err := l.EnforceRetention(m.env.now())
			if err != nil && !errors.Is(err, ErrLogClosed) && !errors.Is(err, ErrStorage) {
				l.logger.Warn("enforce retention", errorAttr(err))
			}
			if deleted > 0 {
				l.logger.Info("deleted local segments", slog.Int("segments", deleted),
					slog.Int64("local_start_offset", l.LocalStartOffset()))
			}
		}
	})
}

// flushLoop makes closed segments durable in the background, a few logs at a time, so that recovery
// after a crash has only active segments to scan.
func (m *Manager) flushLoop(ctx context.Context, d *dataDir) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for ctx.Err() == nil {
		if l := d.flushes.next(); l != nil {
			g.Go(func() error { m.flushInBackground(ctx, l); return nil })
			continue
		}
		select {
		case <-d.flushes.wake:
		case <-ctx.Done():
		}
	}
	_ = g.Wait() // its functions return nil
}

// flushInBackground flushes a log's closed segments and reports the new durable end to OnFlush.
func (m *Manager) flushInBackground(ctx context.Context, l *Log) {
	err := l.flushClosed(ctx)
	if told := l.flush.told.Load(); told != nil && err == nil {
		(*told)(l.offsets.flushed.Load(), nil)
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, ErrLogClosed) || errors.Is(err, ErrStorage):
	default:
		l.logger.Warn("flush closed segments", errorAttr(err))
	}
}

// flushOverdue queues the logs whose flush.ms has passed for flushLoop.
func (m *Manager) flushOverdue(d *dataDir) {
	now := m.env.now()
	for _, l := range m.in(d) {
		if l.needsTimedFlush(now) {
			d.flushes.add(l)
		}
	}
}

// checkpointLoop writes the checkpoints at an interval, and soon after log start has moved or a log
// was deleted.
func (m *Manager) checkpointLoop(ctx context.Context, d *dataDir) {
	t := time.NewTicker(m.options.CheckpointInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-d.checkpointWake:
		case <-ctx.Done():
			return
		}
		if err := m.checkpointDir(d); err != nil && !errors.Is(err, ErrStorage) {
			m.env.logger.Warn("write checkpoints", errorAttr(err))
		}
	}
}

// Checkpoint writes the recovery points, log starts and high watermarks that have changed, as Run
// does at an interval.
func (m *Manager) Checkpoint() error {
	errs := make([]error, 0, len(m.dirs))
	for _, d := range m.dirs {
		errs = append(errs, m.checkpointDir(d))
	}
	return errors.Join(errs...)
}

// checkpointDir is Checkpoint for one directory. In a failed directory it does nothing.
func (m *Manager) checkpointDir(d *dataDir) error {
	if d.failure.Load() != nil {
		return nil // reported once, by watchDirs
	}
	logs, err := m.writeCheckpoints(d)
	for _, l := range logs {
		l.tellStartCheckpointed()
	}
	if errors.Is(err, ErrStorage) {
		d.fail(err)
	}
	return err
}

// writeCheckpoints writes the checkpoints of a directory and syncs the names of removed logs. It
// returns the logs that it has asked.
func (m *Manager) writeCheckpoints(d *dataDir) ([]*Log, error) {
	d.checkpointing.Lock()
	defer d.checkpointing.Unlock()
	logs := m.all()
	return logs, classify(errors.Join(d.checkpoint(m.env.fs, logs), d.removed.settle(m.env.fs, d)))
}

// collect sets offsets to the answers of of, for the logs that are in this directory or about to
// arrive in it. It leaves out logs that were closed after they were listed: a new log may have
// their names. It runs under d.checkpoints, which also guards the lowering of offsets: a checkpoint
// never gets an offset from before a truncation. The end is loaded before the offset, as
// assertCheckpointed expects.
func (d *dataDir) collect(offsets map[partitionKey]int64, logs []*Log, of func(l *Log) int64) map[partitionKey]int64 {
	clear(offsets)
	for _, l := range logs {
		end := l.offsets.end.Load()
		if o := of(l); o > 0 && (l.dir() == d || l.arriving.Load() == d) && !l.closed.Load() {
			l.assertCheckpointed(o, end)
			offsets[l.key] = o
		}
	}
	return offsets
}

// checkpoint writes the three files of the directory whose contents follow appends: recovery
// points, log starts and high watermarks.
func (d *dataDir) checkpoint(fsys vfs.FS, logs []*Log) error {
	offsets := map[partitionKey]int64{} // reused for each file
	collect := func(of func(l *Log) int64) func() map[partitionKey]int64 {
		return func() map[partitionKey]int64 { return d.collect(offsets, logs, of) }
	}
	err := d.writeCheckpoint(fsys, recoveryFile, collect(func(l *Log) int64 { return l.offsets.recovery.Load() }))
	// Log start is written also where it is the first segment's base: a crash may bring deleted
	// segments back.
	startErr := d.writeCheckpoint(fsys, startFile, collect(func(l *Log) int64 { return l.beginStartCheckpoint(d) }))
	if startErr == nil {
		for _, l := range logs {
			l.startCheckpointWritten(d)
		}
	}
	return errors.Join(err, startErr, d.writeCheckpoint(fsys, hwFile, collect((*Log).HighWatermark)))
}

// noteCleaned writes how far the logs in a log's directory have been compacted.
func (m *Manager) noteCleaned(l *Log) error {
	d := l.dir()
	err := classify(d.checkpointCleaned(m.env.fs, m.all()))
	if errors.Is(err, ErrStorage) {
		d.fail(err)
	}
	return err
}

// checkpointCleaned writes how far each log of the directory has been compacted.
func (d *dataDir) checkpointCleaned(fsys vfs.FS, logs []*Log) error {
	return d.writeCheckpoint(fsys, cleanerFile, func() map[partitionKey]int64 {
		return d.collect(map[partitionKey]int64{}, logs, func(l *Log) int64 { return l.cleaning.upTo.Load() })
	})
}

// Close flushes all logs, marks the directories as shut down cleanly, and unlocks them. Run must
// have returned.
//
// The marker is written last, after the logs are durable and the checkpoints written, and only if
// no log failed and none is in limbo. The next start does not read what the marker vouches for.
func (m *Manager) Close() error {
	m.mu.Lock()
	already := m.mu.closed
	m.mu.closed = true
	m.mu.Unlock()
	if already {
		return nil
	}
	g := errgroup.Group{}
	g.SetLimit(4 * runtime.NumCPU())
	logs := m.all()
	for _, l := range logs {
		g.Go(func() error {
			if err := l.settle(); err != nil {
				return fmt.Errorf("close log %s: %w", l.key, err)
			}
			return nil
		})
	}
	errs := []error{g.Wait()}
	for _, d := range m.dirs {
		if d.leftOut {
			continue // logged at start
		}
		err := d.err()
		if err == nil && errs[0] == nil {
			err = d.checkpoint(m.env.fs, logs)
			if err == nil && len(d.limbo) == 0 {
				err = d.markClean(m.env.fs)
			}
			err = classify(err)
		}
		errs = append(errs, err)
	}
	for _, l := range logs {
		l.close()
	}
	m.env.emptyTrashIn(farFuture, func(path string) bool {
		return !slices.ContainsFunc(m.dirs, func(d *dataDir) bool { return d.stalled.Load() && d.holds(path) })
	})
	for _, d := range m.dirs {
		errs = append(errs, d.unlock())
	}
	return errors.Join(errs...)
}

// farFuture is later than every due time.
var farFuture = time.Unix(1<<40, 0)

// settle makes all of a log durable. It skips the sync if everything is durable already.
func (l *Log) settle() error {
	if l.dir().err() != nil {
		return nil //nolint:nilerr // told when it happened; the directory is not marked as clean
	}
	l.mu.Lock()
	err := l.settleLocked()
	_, unsaved := l.epochs.unsaved(l.offsets.end.Load())
	settled := l.offsets.recovery.Load() == l.offsets.end.Load() && !unsaved
	l.mu.Unlock()
	if err != nil || settled {
		return classify(err)
	}
	return l.flushClosed(context.Background())
}

// settleLocked writes the indexes, and the producer snapshot at the end, which the next start would
// otherwise rebuild from the batches. A log of one small segment does without them.
func (l *Log) settleLocked() error {
	list := l.list()
	active := list.active()
	if active.small() {
		if err := active.trim(); err != nil || len(list) == 1 {
			return err
		}
	} else if err := active.seal(); err != nil {
		return err
	}
	end := l.offsets.end.Load()
	if end == l.snapshotAt {
		return nil
	}
	return l.writeSnapshotLocked(end, false)
}

// close ends the log's service; slices that were read before stay valid.
func (l *Log) close() {
	if l.dir().stalled.Load() { // its lock may be held forever
		l.closed.Store(true)
		return
	}
	l.mu.Lock()
	was := l.closed.Swap(true)
	l.mu.Unlock()
	if p := l.segments.Load(); p != nil && !was {
		for _, s := range *p {
			s.release()
		}
	}
}
