package storage

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// loadProducers rebuilds the producer state from the newest sound snapshot and the batches after
// it. It also rebuilds the transaction index of the segments in rebuilt; therefore it starts from a
// snapshot at or below the first of them.
func (l *Log) loadProducers(snapshots []int64, rebuilt map[*segment]bool) error {
	end := l.offsets.end.Load()
	limit := end
	for s := range rebuilt {
		limit = min(limit, s.base)
	}
	var p producerState
	from := int64(math.MinInt64)
	for _, offset := range slices.Backward(snapshots) {

		if offset > end {
			l.removeSnapshot(offset)
			continue
		}
		if offset > limit {
			continue
		}
		if producers, ok := l.readSnapshot(offset); ok {
			p.restore(producers)
			from = offset
			break
		}
	}
	if err := l.replay(&p, from, end, rebuilt, l.mendSnapshot); err != nil {
		return err
	}
	p.expire(l.env.now(), l.env.expiration)
	l.setProducersLocked(p)
	l.snapshotAt = from
	l.removeStraySnapshots(snapshots, max(from, limit))
	return nil
}

// readSnapshot reads one snapshot; false if it is damaged.
func (l *Log) readSnapshot(offset int64) (map[int64]*producerEntry, bool) {
	content, err := vfs.ReadFile(l.env.fs, l.snapshotName(offset), maxSnapshot)
	if err == nil {
		var producers map[int64]*producerEntry
		if producers, err = decodeSnapshot(content); err == nil {
			return producers, true
		}
	}
	l.logger.Warn("pass over damaged producer snapshot", offsetAttr(offset), errorAttr(err))
	return nil, false
}

// mendSnapshot writes the snapshot at the base of a segment that replay has reached, unless there
// is a sound one: a power cut may have torn it. Without it a follower that starts from the object
// store would know no producers. durable is true for the snapshot at the end of a segment that no
// flush visits again.
func (l *Log) mendSnapshot(at int64, p *producerState, durable bool) {
	if _, sound := l.readSnapshot(at); sound {
		return
	}
	if err := vfs.ReplaceFile(l.env.fs, l.snapshotName(at), encodeSnapshot(p.producers), 0o644, durable); err != nil {
		// A full disk: the snapshot is made when it is needed.
		l.logger.Warn("write producer snapshot", offsetAttr(at), errorAttr(err))
	}
}

// producersAt returns the content of the snapshot at the base of a segment, and writes the file. It
// is made from an earlier snapshot and the local batches after it.
func (l *Log) producersAt(at int64) ([]byte, error) {
	files, err := l.listFiles()
	if err != nil {
		return nil, err
	}
	var p producerState
	from := int64(math.MinInt64)
	for _, offset := range slices.Backward(files.snapshots) {
		if offset >= at {
			continue
		}
		if producers, ok := l.readSnapshot(offset); ok {
			p.restore(producers)
			from = offset
			break
		}
	}
	if err = l.replay(&p, from, at, nil, func(int64, *producerState, bool) {}); err != nil {
		return nil, err
	}
	l.mu.Lock() // the log must not move while the file is written
	defer l.mu.Unlock()
	if err = l.usable(); err == nil {
		l.mendSnapshot(at, &p, true)
	}
	return encodeSnapshot(p.producers), err
}

// replay applies the batches from offset from up to upTo to a producer state. It calls mend at the
// base of each segment after from; trusted means that the segment before was not rebuilt.
func (l *Log) replay(p *producerState, from, upTo int64, rebuilt map[*segment]bool, mend func(at int64, p *producerState, trusted bool)) error {
	list := l.list()
	for i, s := range list {
		if i > 0 && s.base > from && s.base <= upTo {
			mend(s.base, p, !rebuilt[list[i-1]])
		}
		size := s.size.Load()
		if s.base >= upTo || s.end.Load() <= from || size == 0 {
			continue
		}
		start := int64(0)
		if from > s.base {
			loc, found, err := s.locate(from, size)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				return err
			}
			if !found {
				continue
			}
			start = loc.pos
		}
		at := sync.OnceValue(func() int64 { return l.appendedBy(s) })
		err := s.scan(start, size, func(h record.Batch, pos int64) (bool, error) {
			if !h.HasProducer() || h.BaseOffset() < from {
				return h.BaseOffset() < upTo, nil
			}
			return true, l.replayBatch(p, s, h, pos, at(), rebuilt[s])
		})
		// Damage in a trusted segment was reported when it was found.
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	return nil
}

// appendedBy returns a time, in ms, before which all batches of a segment were appended: that of
// its file, but at most now. Replay uses it as the time of each append: producers expire late
// rather than early.
func (l *Log) appendedBy(s *segment) int64 {
	now := l.nowMs()
	if modified, err := s.modified(); err == nil {
		return min(now, modified.UnixMilli())
	}
	return now
}

// replayBatch applies one batch. Headers suffice except for markers, which are read whole.
func (l *Log) replayBatch(p *producerState, s *segment, h record.Batch, pos, at int64, rebuildTxns bool) error {
	if !h.IsControl() {
		_, _, err := p.apply(h, at)
		return err
	}
	b, err := s.readBatch(pos, int64(h.Size()))
	if err != nil {
		return err
	}
	done, ended, err := p.apply(b, at)
	if rebuildTxns {
		l.noteEnd(p, b, s, done, ended, err)
	} else if err != nil {
		l.logger.Warn("pass over control batch", offsetAttr(b.BaseOffset()), errorAttr(err))
	}
	return nil
}

// reloadProducersLocked rebuilds the producer state after a truncation.
func (l *Log) reloadProducersLocked() error {
	files, err := l.listFiles()
	if err != nil {
		return classify(err)
	}
	return classify(l.loadProducers(files.snapshots, nil))
}

// removeSnapshotsAbove removes the snapshots above an offset, because their batches are gone.
func (l *Log) removeSnapshotsAbove(offset int64) error {
	files, err := l.listFiles()
	if err != nil {
		return err
	}
	for _, o := range files.snapshots {
		if o > offset {
			l.removeSnapshot(o)
		}
	}
	return nil
}

// removeStraySnapshots removes snapshots below used that are at no segment base. Those at a base
// are removed with their segments.
func (l *Log) removeStraySnapshots(snapshots []int64, used int64) {
	list := l.list()
	for _, o := range snapshots {
		_, isBase := slices.BinarySearchFunc(list, o, func(s *segment, o int64) int { return cmp.Compare(s.base, o) })
		if !isBase && o < used {
			l.removeSnapshot(o)
		}
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
