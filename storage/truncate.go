package storage

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/varvelog/varve/invariants"
)

// Truncate drops all records from an offset on. A batch that contains the offset is dropped as a
// whole, and so is a gap before it, so that EndOffset may become lower than the offset. An offset
// at or above the end changes no record; an offset below the local log empties it. The high
// watermark is lowered with the end if necessary, and log start with an offset below it.
//
// No record below the high watermark may be dropped: see TruncateCommitted (S16).
func (l *Log) Truncate(to int64) error { return l.truncate(to, false) }

// TruncateCommitted is Truncate for a log that has to give up committed records because its leader
// does not have them, after an unclean election or the loss of its log.
func (l *Log) TruncateCommitted(to int64) error { return l.truncate(to, true) }

func (l *Log) truncate(to int64, committed bool) error {
	if invariants.Enabled {
		defer l.solely("Truncate")()
	}
	if to < l.offsets.end.Load() {
		defer l.forbidCleaning()()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.usable()
	if err == nil && !committed {
		l.assertKeepsCommittedLocked(to)
	}
	switch {
	case err != nil:
	case to >= l.offsets.end.Load():
		// No batch is dropped, but an epoch may be: that of an election which this log won without
		// appending anything. The next leader may not know the epoch, and would make this log
		// truncate again and again.
		l.epochs.truncateEnd(to)
		return nil
	case to < l.list()[0].base:
		err = l.truncateFullyLocked(to, min(to, l.offsets.start.Load()), nil)
	default:
		err = l.truncateLocked(to)
	}
	if err != nil {
		return fmt.Errorf("truncate %s to %d: %w", l.key, to, err)
	}
	l.assertLocked()
	return nil
}

// TruncateFully drops everything. The next record gets the offset at, which is also the new log
// start and high watermark.
//
// No record from at on may be below the high watermark: see TruncateCommittedFully.
func (l *Log) TruncateFully(at int64) error { return l.truncateFully(at, false) }

// TruncateCommittedFully is TruncateFully for a log that has to give up committed records, as
// TruncateCommitted is Truncate.
func (l *Log) TruncateCommittedFully(at int64) error { return l.truncateFully(at, true) }

func (l *Log) truncateFully(at int64, committed bool) error {
	if invariants.Enabled {
		defer l.solely("TruncateFully")()
	}
	defer l.forbidCleaning()()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.usable()
	if err == nil && !committed {
		l.assertKeepsCommittedLocked(at)
	}
	if err == nil {
		err = l.truncateFullyLocked(at, at, nil)
	}
	if err != nil {
		return fmt.Errorf("truncate %s fully at %d: %w", l.key, at, err)
	}
	l.assertLocked()
	return nil
}

// truncateLocked truncates within the local log. The steps are ordered for crashes: first the
// checkpoints no longer vouch for the offsets that will be reused, durably, and only then records
// are removed.
func (l *Log) truncateLocked(to int64) error {
	list := l.list()
	i := list.find(to)
	old := list[i]
	cut, found, err := old.locate(to, old.size.Load())
	if err != nil {
		return classify(err)
	}
	first, pos := to, old.size.Load() // the part to drop begins there
	if found {
		first, pos = min(to, cut.base), cut.pos
	}
	// Not an offset in a gap after the last batch that stays: no file records the gap, and a
	// segment that began there would look as if one before it were missing.
	end, err := old.endBefore(first, pos)
	if err != nil {
		return classify(err)
	}
	// Log start was within the batch or the gap, or is above to.
	if start := l.offsets.start.Load(); end < start {
		at := min(to, start)
		return l.truncateFullyLocked(at, at, nil)
	}
	// A full disk may refuse these steps. They come first, while the log can stay as it is.
	if err = old.persistIndexes(); err != nil {
		return classify(err)
	}
	if err = l.lowerPromisesLocked(end); err != nil {
		return err
	}
	if err = l.cutLocked(list, i, pos, end); err != nil {
		// The log on disk and in memory differ now.
		l.dir().fail(fmt.Errorf("truncate at segment %d: %w", old.base, err))
		return l.dir().err()
	}
	return nil
}

// cutLocked ends the log at position pos of the i-th segment, offset end.
func (l *Log) cutLocked(list segmentList, i int, pos, end int64) error {
	l.assertPromiseLocked(end)
	// The newest segment first, so that a crash in between leaves no gap.
	for k := len(list) - 1; k > i; k-- {
		if err := l.discardLocked(list[k]); err != nil {
			return err
		}
	}
	if err := l.removeSnapshotsAbove(end); err != nil {
		return err
	}
	old := list[i]
	if err := l.cutFiles(old, pos, end); err != nil {
		return err
	}
	s, err := l.reopenActive(old, pos, end)
	if err != nil {
		return err
	}
	l.publish(append(list[:i:i], s))
	l.setEndLocked(end)
	old.release()
	return l.reloadProducersLocked()
}

// cutFiles truncates the segment's files. They are synced at once: truncation is rare, and the
// dropped records must not return after a crash and precede newer ones.
func (l *Log) cutFiles(s *segment, pos, end int64) error {
	f, err := s.file.acquire(true)
	if err != nil {
		return err
	}
	defer s.file.release()
	if err = errors.Join(f.Truncate(pos), f.Sync()); err != nil {
		return err
	}
	n, err := s.index.countBelow(end)
	if err != nil {
		return err
	}
	m, err := s.times.countBelow(end)
	if err != nil {
		return err
	}
	return errors.Join(s.index.cut(n), s.times.cut(m), s.txns.cut(end), s.txns.sync(), l.env.fs.SyncDir(l.path()))
}

// reopenActive makes a new segment from the files of one that was cut. Readers that still hold the
// old segment keep its size and end.
func (l *Log) reopenActive(old *segment, size, end int64) (*segment, error) {
	s := l.env.newSegment(l.path(), old.base, l.config.Load(), l.env.now())
	s.began.Store(old.began.Load())
	s.index.init(cachedFileInit{&l.env.files, &s.names, extIndex}, offsetEntrySize, old.index.count())
	s.times.init(cachedFileInit{&l.env.files, &s.names, extTimeIndex}, timeEntrySize, old.times.count())
	s.txns.mu.inFile = old.txns.count()
	err := s.openTail(size, false)
	if errors.Is(err, ErrCorrupt) {
		l.logger.Warn("rebuild damaged index", segmentAttr(s), errorAttr(err))
		if err = s.dropIndexes(func(string, int64) bool { return true }); err == nil {
			_, err = l.rebuildSegment(s, size, math.MaxInt64, math.MaxInt64)
		}
		s.size.Store(size)
	}
	if err != nil {
		return nil, err
	}
	s.end.Store(end)
	s.synced = size // cutFiles has synced it
	return s, nil
}

// truncateFullyLocked restarts the log, empty, at an offset. known is the state that follows from
// the batches before it; nil: none. The names are durable when it returns: after a crash the old
// segments must not be found beside new records.
func (l *Log) truncateFullyLocked(at, start int64, known *beginning) error {
	if err := l.ensureDirLocked(); err != nil {
		return classify(err)
	}
	if start < l.offsets.start.Load() {
		if err := l.lowerStartLocked(start); err != nil {
			return err
		}
	}
	if err := l.lowerPromisesLocked(at); err != nil {
		return err
	}
	l.assertPromiseLocked(at)
	if err := l.restartLocked(at, start, known); err != nil {
		return err
	}
	l.dir().checkpointSoon()
	return l.syncDirLocked()
}

// restartLocked replaces all of the log with an empty segment at an offset. Until it returns no
// checkpoint gets the old log start.
func (l *Log) restartLocked(at, start int64, known *beginning) error {
	if start == at {
		done, err := l.raiseStartLocked(start)
		if err != nil {
			return err
		}
		defer done()
	}
	s, err := l.replaceAllLocked(l.list(), at, known)
	if err != nil {
		l.dir().fail(fmt.Errorf("begin anew at %d: %w", at, err))
		return l.dir().err()
	}
	l.publish(segmentList{s})
	l.setEndLocked(at)
	l.offsets.hw.Store(at)
	l.offsets.start.Store(start)
	l.epochs.truncateStart(start)
	return nil
}

// lowerStartLocked lowers log start, durably. It changes the file and the offset under the
// checkpoints' lock, so that no later checkpoint has the old log start again. After a crash a log
// start above the end would delete the records that the log has received since.
func (l *Log) lowerStartLocked(start int64) error {
	d := l.dir()
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	if err := d.lowerCheckpointLocked(l.env.fs, startFile, l.key, start); err != nil {
		return classify(err)
	}
	l.offsets.start.Store(start)
	l.lowerStartCheckpoint(start)
	return nil
}

// raiseStartLocked raises the log start that outlives a crash, durably, before a tiered log
// restarts there: with an older one, the offsets in between would count as uploaded. A crash before
// the restart leaves a log that ends below its start, which settleStart restarts there, or one that
// still has deleted records.
//
// No checkpoint gets the old log start until the caller calls done, when the log has restarted.
func (l *Log) raiseStartLocked(start int64) (done func(), err error) {
	if !l.config.Load().RemoteStorageEnable || start <= l.CheckpointedStartOffset() {
		return func() {}, nil
	}
	d := l.dir()
	if err = d.raiseStart(l.env.fs, l.key, start); err != nil {
		return nil, classify(err)
	}
	return func() { d.raisedStart(l.key) }, nil
}

// replaceAllLocked deletes all segments, newest first, and creates an empty one at an offset. What
// is known of earlier batches is durable before that segment exists.
func (l *Log) replaceAllLocked(list segmentList, at int64, known *beginning) (*segment, error) {
	for _, s := range slices.Backward(list) {
		if err := l.discardLocked(s); err != nil {
			return nil, err
		}
	}
	if err := l.removeSnapshotsAbove(-1); err != nil {
		return nil, err
	}
	l.setProducersLocked(producerState{})
	l.snapshotAt = -1
	if known != nil {
		if err := l.enterLocked(known, at); err != nil {
			return nil, err
		}
	}
	return l.createSegmentLocked(at)
}

// lower lowers an offset to at most limit; another goroutine may be raising it.
func lower(offset *atomic.Int64, limit int64) {
	for {
		old := offset.Load()
		if old <= limit || offset.CompareAndSwap(old, limit) {
			return
		}
	}
}

// setEndLocked lowers the end, and the offsets that must not be above it. A flush under way notices
// by truncations that its plan is stale.
func (l *Log) setEndLocked(end int64) {
	l.flush.truncations++
	l.offsets.flushed.Store(min(end, l.offsets.flushed.Load()))
	l.offsets.end.Store(end)
	// Above end this log will have other records than the object store.
	lower(&l.offsets.remoteEnd, end)
	l.epochs.truncateEnd(end)
	l.updateUnstable()
	l.updateRecoveryLocked()
}

// lowerPromisesLocked lowers the checkpoints durably: nothing from offset on is durable, compacted
// or committed. It comes before the offsets are reused. Otherwise recovery would trust bytes that
// were never synced, the cleaner would skip keys that it has never seen, and consumers would read
// unconfirmed records (S2, S20). offset must not be below log start.
func (l *Log) lowerPromisesLocked(offset int64) error {
	// Each by itself: after a crash the checkpoint of compaction may be above that of flushes.
	if l.offsets.flushed.Load() > offset {
		l.offsets.flushed.Store(offset)
		l.flush.truncations++
		l.updateRecoveryLocked()
	}
	// Also if flushed was lowered before: a full disk may have refused the file.
	if err := l.lowerCheckpointLocked(recoveryFile, offset); err != nil {
		return err
	}
	if l.cleaning.upTo.Load() > offset {
		l.cleaning.upTo.Store(offset)
	}
	return errors.Join(l.lowerCheckpointLocked(cleanerFile, offset), l.lowerHighWatermarkLocked(offset))
}

// lowerHighWatermarkLocked lowers the high watermark, durably. Both change under the checkpoints'
// lock, so that no later checkpoint has the old one again.
func (l *Log) lowerHighWatermarkLocked(offset int64) error {
	d := l.dir()
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	lower(&l.offsets.hw, offset)
	err := classify(d.lowerCheckpointLocked(l.env.fs, hwFile, l.key, offset))
	if errors.Is(err, ErrStorage) {
		d.fail(err)
	}
	return err
}

// lowerCheckpointLocked lowers the log's line of a checkpoint, durably.
func (l *Log) lowerCheckpointLocked(name string, offset int64) error {
	err := classify(l.dir().lowerCheckpoint(l.env.fs, name, l.key, offset))
	if errors.Is(err, ErrStorage) {
		l.dir().fail(err)
	}
	return err
}
