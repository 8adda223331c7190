package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// flushState is the flush state of a log. token is held by the one flush in progress. Fields
// without a note are guarded by Log.mu.
type flushState struct {
	token invariants.Token[rankFlushToken]
	// waits: the log is queued for a round, by this directory's committer or by that of an earlier
	// one.
	waits atomic.Bool
	// told is the function of OnFlush.
	told atomic.Pointer[func(upTo int64, err error)]
	last time.Time // when the last flush ended
	// truncations counts how often the end went back: a flush compares it before and after its
	// syncs.
	truncations int
	// created counts the files created in the directory.
	created int
	// createdSync is the value of created when the directory was last synced.
	createdSync int
	newDir      bool // the directory's own name may not be durable
}

// Flush makes every offset below upTo durable, at most up to the current end, and then returns.
// Callers that arrive during a flush wait for it and share the next one, so many appends cost one
// fsync.
//
// If a sync fails, its whole directory fails (S6): the content of the disk is unknown, and a
// retried fsync could report success falsely. If a file could not even be opened, for want of a
// descriptor or of space, an error is returned and everything is as before.
func (l *Log) Flush(ctx context.Context, upTo int64) error {
	for l.offsets.flushed.Load() < min(upTo, l.offsets.end.Load()) {
		if err := l.takeFlushToken(ctx); err != nil {
			return fmt.Errorf("flush %s: %w", l.key, err)
		}
		var err error
		if l.offsets.flushed.Load() < min(upTo, l.offsets.end.Load()) {
			err = l.flushOnce()
		}
		l.flush.token.Release()
		if err != nil {
			return fmt.Errorf("flush %s: %w", l.key, err)
		}
	}
	return nil
}

// takeFlushToken waits for a flush under way, unless the directory fails or ctx ends.
func (l *Log) takeFlushToken(ctx context.Context) error {
	d := l.dir()
	select {
	case l.flush.token.Wait() <- struct{}{}:
		l.flush.token.Taken()
		return nil
	case <-d.gone:
		return d.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flushClosed makes everything before the end durable, closed segments with their indexes, so that
// the recovery point advances.
func (l *Log) flushClosed(ctx context.Context) error {
	if err := l.takeFlushToken(ctx); err != nil {
		return err
	}
	defer l.flush.token.Release()
	if err := l.flushOnce(); err != nil {
		return fmt.Errorf("flush %s: %w", l.key, err)
	}
	return nil
}

// flushPlan is what one flush has to make durable, as of one moment.
type flushPlan struct {
	began       time.Time
	end         int64
	truncations int
	segments    []flushSegment
	epochs      []EpochEntry
	unsaved     bool // epochs differs from the file
	created     int
	names       bool // the log's directory needs a sync
	newDir      bool // the data directory needs a sync
}

type flushSegment struct {
	s      *segment
	size   int64
	closed bool
	// snapshot is the file of the producers at the segment's end; "" if it is not closed.
	snapshot string
}

// flushOnce makes the log durable as of now. The caller holds the flush token.
func (l *Log) flushOnce() error {
	plan, err := l.startFlush()
	if err == nil && plan.newDir {
		err = l.dir().flushNames(l.env.fs)
	}
	return l.finishFlush(plan, err)
}

// startFlush makes the log durable, except for its directory's name in the data directory. The
// caller holds the flush token and must call finishFlush. Log.mu is held before and after the
// fsyncs, not during them: appends continue.
func (l *Log) startFlush() (flushPlan, error) {
	l.mu.Lock()
	plan, err := l.planFlushLocked()
	l.mu.Unlock()
	if err != nil {
		return plan, err
	}
	if err = l.saveEpochs(&plan); err != nil && !errors.Is(classify(err), ErrStorage) {
		// Nothing was synced yet: the next flush may try again.
		return plan, classify(err)
	}
	for _, f := range plan.segments {
		if err == nil {
			err = l.syncSegment(f)
		}
	}
	if err == nil {
		err = l.syncNames(plan)
	}
	switch {
	case err == nil:
		return plan, nil
	case l.closed.Load() && errors.Is(err, fs.ErrNotExist):
		return plan, ErrLogClosed // deleted concurrently
	case passing(err):
		// Segments that were synced are durable; the next flush syncs the rest.
		return plan, classify(err)
	}
	l.dir().fail(err)
	return plan, l.dir().err()
}

// finishFlush records what was made durable, if all syncs succeeded. They are those of this log and
// the caller's sync of the data directory. Only now may offsets count as flushed (S1).
func (l *Log) finishFlush(plan flushPlan, err error) error {
	defer plan.release()
	if err == nil {
		err = l.usable()
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.flushedLocked(plan)
	l.flush.last = l.env.now()
	l.mu.Unlock()
	l.env.metrics.fsyncSeconds.Observe(l.env.now().Sub(plan.began).Seconds())
	return nil
}

// release unpins the segments.
func (p *flushPlan) release() {
	for _, f := range p.segments {
		f.s.release()
	}
}

// saveEpochs updates the epoch file. This comes before the recovery point moves: segments below it
// are not scanned for their epochs.
func (l *Log) saveEpochs(plan *flushPlan) error {
	if !plan.unsaved {
		return nil
	}
	return l.writeEpochs(plan.epochs)
}

// writeEpochs durably replaces the epoch file. The caller holds the flush token.
func (l *Log) writeEpochs(entries []EpochEntry) error {
	if err := vfs.ReplaceFile(l.env.fs, filepath.Join(l.path(), epochFile), FormatEpochs(entries), 0o644, true); err != nil {
		return fmt.Errorf("write %s: %w", epochFile, err)
	}
	return nil
}

// planFlushLocked lists and pins the segments that are not durable.
func (l *Log) planFlushLocked() (flushPlan, error) {
	if err := l.usable(); err != nil {
		return flushPlan{}, err
	}
	plan := flushPlan{
		began: l.env.now(),
		end:   l.offsets.end.Load(), truncations: l.flush.truncations,
		created: l.flush.created, names: l.flush.created != l.flush.createdSync, newDir: l.flush.newDir,
	}
	plan.epochs, plan.unsaved = l.epochs.unsaved(plan.end)
	list := l.list()
	for i, s := range list {
		closed := i < len(list)-1
		size := s.size.Load()
		if (closed && s.indexDurable) || (!closed && (size == s.synced)) {
			continue
		}
		if s.synced == 0 && s.size.Load() > 0 {
			plan.names = true // its file may be new
		}
		// This cannot fail: the list has a reference, and the lock is held.
		s.acquire()
		f := flushSegment{s: s, size: size, closed: closed}
		if closed {
			f.snapshot = l.snapshotName(list[i+1].base)
		}
		plan.segments = append(plan.segments, f)
	}
	return plan, nil
}

// syncSegment makes a segment durable. A closed one is synced with its indexes and its snapshot:
// below the recovery point, recovery trusts all of them (S2).
func (l *Log) syncSegment(f flushSegment) error {
	if f.size != f.s.synced || f.size == 0 {
		if err := f.s.file.sync(); err != nil {
			return fmt.Errorf("sync segment %d: %w", f.s.base, err)
		}
	}
	if !f.closed {
		return nil
	}
	if err := errors.Join(f.s.index.file.sync(), f.s.times.file.sync(), f.s.txns.sync()); err != nil {
		return fmt.Errorf("sync indexes of segment %d: %w", f.s.base, err)
	}
	if f.snapshot == "" {
		return nil
	}
	// A start that trusts the segment does not look for producers in it. The object store gets the
	// snapshot together with the segment.
	if err := ignoreNotExist(vfs.SyncFile(l.env.fs, f.snapshot)); err != nil {
		return fmt.Errorf("sync producer snapshot at the end of segment %d: %w", f.s.base, err)
	}
	return nil
}

// syncNames makes the names of the log's files durable: without its name a synced file is lost. The
// name of the log's directory in the data directory, which others share, is up to the caller.
func (l *Log) syncNames(plan flushPlan) error {
	if plan.newDir {
		// An adopted directory may not have the file.
		if err := ignoreNotExist(vfs.SyncFile(l.env.fs, filepath.Join(l.path(), metadataFile))); err != nil {
			return err
		}
	}
	if plan.names || plan.newDir {
		if err := l.env.fs.SyncDir(l.path()); err != nil {
			return err
		}
	}
	return nil
}

// flushedLocked records what a flush has made durable. If the log was truncated during the flush,
// the result is unknown and the next flush starts from scratch.
func (l *Log) flushedLocked(plan flushPlan) {
	l.epochs.saved = plan.epochs
	if plan.truncations != l.flush.truncations {
		return
	}
	for _, f := range plan.segments {
		f.s.synced = max(f.s.synced, f.size)
		f.s.indexDurable = f.s.indexDurable || f.closed
	}
	l.flush.createdSync = plan.created
	if plan.newDir {
		l.flush.newDir = false
	}
	l.offsets.flushed.Store(max(l.offsets.flushed.Load(), plan.end))
	l.updateRecoveryLocked()
	l.assertLocked()
}

// updateRecoveryLocked computes the offset from which recovery has to scan after a crash.
// Everything below it is durable, and segments wholly below it have durable indexes (S2). The
// result is an atomic because the checkpoint loop reads it under the directory's lock, which comes
// after Log.mu.
func (l *Log) updateRecoveryLocked() {
	point := l.offsets.flushed.Load()
	list := l.list()
	for _, s := range list[:len(list)-1] {
		if !s.indexDurable {
			point = min(point, s.base)
			break
		}
	}
	l.offsets.recovery.Store(point)
}

// needsTimedFlush reports whether flush.ms has passed and there is something to flush.
func (l *Log) needsTimedFlush(now time.Time) bool {
	every := l.config.Load().FlushMs
	if every < 0 || every == math.MaxInt64 || l.offsets.flushed.Load() >= l.offsets.end.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.flush.last).Milliseconds() >= every
}
