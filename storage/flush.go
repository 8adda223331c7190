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

// flushState is what flushing keeps. token admits one flush at a time; what is
// not said to be otherwise belongs to the log's lock.
type flushState struct {
	token       invariants.Token[rankFlushToken]
	waits       atomic.Bool // for a round, of this directory's committer or that of one before
	told        atomic.Pointer[func(upTo int64, err error)]
	last        time.Time
	truncations int  // how often the end went back
	created     int  // how many files were created, and
	createdSync int  // how many of them were when the directory was last synced
	newDir      bool // the directory's own name may not be durable
}

// Flush makes everything below upTo durable (at most to the present end) and
// returns when it is. Callers that come while a flush is under way wait for it
// and then share the next one, so that many appends cost one fsync.
//
// If the disk fails a sync, its whole directory fails: nobody knows what is on it,
// and trying again could be told a lie. A file that could not even be opened, for
// want of a descriptor or of space, is an error that leaves all as it was.
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

// takeFlushToken waits for a flush under way, unless the disk gives up on it.
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

// flushClosed makes closed segments durable with their indexes, and what is
// before the end, so that the recovery point moves up.
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
	unsaved     bool // epochs is not what the file has
	created     int
	names       bool // the directory needs a sync
	newDir      bool // so does its own name in the data directory
}

type flushSegment struct {
	s        *segment
	size     int64
	closed   bool
	snapshot string // of the producers as of its end, "" if it is not closed
}

// flushOnce runs under the token.
func (l *Log) flushOnce() error {
	plan, err := l.startFlush()
	if err == nil && plan.newDir {
		err = l.dir().flushNames(l.env.fs)
	}
	return l.finishFlush(plan, err)
}

// startFlush makes durable what is in the log, but for its directory's name in
// the data directory. It runs under the token; finishFlush must follow. What
// the log's lock guards is looked at before and after, not during, the fsyncs:
// appends go on meanwhile.
func (l *Log) startFlush() (flushPlan, error) {
	l.mu.Lock()
	plan, err := l.planFlushLocked()
	l.mu.Unlock()
	if err != nil {
		return plan, err
	}
	if err = l.saveEpochs(&plan); err != nil && !errors.Is(classify(err), ErrStorage) {
		return plan, classify(err) // nothing was synced yet: the next flush may try again
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
		return plan, ErrLogClosed // deleted meanwhile
	case passing(err):
		return plan, classify(err) // what was synced is, and the next flush syncs the rest
	}
	l.dir().fail(err)
	return plan, l.dir().err()
}

// finishFlush notes what was made durable if all went well, in this log and
// meanwhile in its directory.
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

// saveEpochs brings the epoch file up to date before the recovery point moves,
// because segments below it are not scanned for their epochs.
func (l *Log) saveEpochs(plan *flushPlan) error {
	if !plan.unsaved {
		return nil
	}
	return l.writeEpochs(plan.epochs)
}

// writeEpochs makes the epoch file durable with these entries. It runs under the
// flush token.
func (l *Log) writeEpochs(entries []EpochEntry) error {
	if err := vfs.ReplaceFile(l.env.fs, filepath.Join(l.path(), epochFile), FormatEpochs(entries), 0o644, true); err != nil {
		return fmt.Errorf("write %s: %w", epochFile, err)
	}
	return nil
}

// planFlushLocked lists the segments that are not durable and pins them.
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
		s.acquire() // cannot fail: the list holds it, and the lock is held
		f := flushSegment{s: s, size: size, closed: closed}
		if closed {
			f.snapshot = l.snapshotName(list[i+1].base)
		}
		plan.segments = append(plan.segments, f)
	}
	return plan, nil
}

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
	// A start that trusts the segment does not look into it for producers, and
	// the object store gets the snapshot with it.
	if err := ignoreNotExist(vfs.SyncFile(l.env.fs, f.snapshot)); err != nil {
		return fmt.Errorf("sync producer snapshot at the end of segment %d: %w", f.s.base, err)
	}
	return nil
}

// syncNames makes the files findable: a synced file without its name is lost.
// The name of the log's directory, which others share, is up to the caller.
func (l *Log) syncNames(plan flushPlan) error {
	if plan.newDir {
		// An adopted directory may lack the file.
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

// flushedLocked notes what a flush has done, unless the log was truncated
// meanwhile: then nothing is known and the next flush begins anew.
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

// updateRecoveryLocked computes the offset from which a crash's recovery has to
// scan: what is below is durable, and segments wholly below have durable
// indexes. It is an atomic, because the checkpoint loop reads it under the
// directory's lock, which comes after the log's.
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

// needsTimedFlush says whether flush.ms has passed with something to flush.
func (l *Log) needsTimedFlush(now time.Time) bool {
	every := l.config.Load().FlushMs
	if every < 0 || every == math.MaxInt64 || l.offsets.flushed.Load() >= l.offsets.end.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.flush.last).Milliseconds() >= every
}
