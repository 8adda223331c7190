package storage

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/varvelog/varve/vfs"
)

// This file frees space on a volume that is nearly full: it deletes segments of tiered logs below
// their remote end, whatever local retention says, the oldest in the directory first. It never
// deletes a segment that is not in the object store, nor an active one. If that is not enough the
// disk fills up, and appends are refused (S7).

// Watermarks are two fill levels of a volume. Above High (varve.disk.high.watermark) segments are
// deleted until it is below Low (varve.disk.low.watermark). A value up to 1 is a fraction of the
// volume, a larger one is in bytes. A High of 0 is no limit.
type Watermarks struct{ High, Low float64 }

// bytesOf converts a watermark of a volume to bytes.
func bytesOf(mark float64, total int64) int64 {
	if mark <= 1 {
		return int64(mark * float64(total))
	}
	return int64(mark)
}

// excess returns how many bytes the volume of the directory is above the low watermark if it is
// above the high one. It returns 0 if it is not, or if the fill level is unknown.
func (m *Manager) excess(d *dataDir) int64 {
	marks := m.options.Watermarks()
	space, ok := m.env.fs.(vfs.SpaceReporter)
	if !ok || marks.High <= 0 || d.err() != nil {
		return 0
	}
	total, free, err := space.Space(d.path)
	if err != nil || total <= 0 || total-free < bytesOf(marks.High, total) {
		return 0
	}
	return max(total-free-bytesOf(min(marks.Low, marks.High), total), 0)
}

// relieve deletes segments if the directory's volume is above the high watermark, until it is below
// the low one or no segment may be deleted. One directory is relieved at a time: those on the same
// volume would otherwise all free the same excess. A directory whose disk hangs has failed, and
// does not block the others.
func (m *Manager) relieve(ctx context.Context, d *dataDir) {
	if m.excess(d) == 0 {
		d.full.Store(false)
		return
	}
	if busy := m.relieving.Load(); busy != nil && busy.err() == nil || !m.relieving.CompareAndSwap(busy, d) {
		// The next look at the volume will do.
		return
	}
	defer m.relieving.CompareAndSwap(d, nil)
	// Files of deleted segments go first: file.delete.delay.ms is only a courtesy.
	m.env.emptyTrashIn(farFuture, d.holds)
	excess := m.excess(d)
	if excess == 0 {
		return
	}
	segments, bytes := m.dropTiered(ctx, d, excess)
	m.env.emptyTrashIn(farFuture, d.holds)
	m.env.metrics.pressureSegments.Add(float64(segments))
	m.env.metrics.pressureBytes.Add(float64(bytes))
	if segments > 0 {
		m.env.logger.Warn("the disk is above its high watermark: segments that are in the object store were deleted before local retention asks for it",
			slog.String("dir", d.path), slog.Int("segments", segments), slog.Int64("bytes", bytes), slog.Int64("above_low_watermark", excess))
	}
	if full := bytes < excess; d.full.Swap(full) != full && full && ctx.Err() == nil {
		m.env.logger.Error("the disk is above its high watermark, and nothing is left to delete that is in the object store",
			slog.String("dir", d.path), slog.Int64("above_low_watermark", excess-bytes))
	}
}

// dropTiered deletes at least excess bytes of segments, or all that may be deleted.
func (m *Manager) dropTiered(ctx context.Context, d *dataDir, excess int64) (segments int, bytes int64) {
	var oldest expendables
	for _, l := range m.in(d) {
		if e, ok := l.expendable(); ok {
			oldest = append(oldest, e)
		}
	}
	heap.Init(&oldest)
	for len(oldest) > 0 && bytes < excess && ctx.Err() == nil {
		e := oldest[0]
		size, err := e.log.dropExpendable(e.base)
		if err != nil && !errors.Is(err, ErrLogClosed) && !errors.Is(err, ErrStorage) {
			e.log.logger.Warn("delete a segment of a full disk", errorAttr(err))
		}
		if size > 0 {
			segments, bytes = segments+1, bytes+size
		}
		next, ok := e.log.expendable()
		if ok = ok && err == nil && size > 0; ok {
			oldest[0] = next
			heap.Fix(&oldest, 0)
			continue
		}
		heap.Pop(&oldest)
	}
	return segments, bytes
}

// expendable is the first segment of a log, which may be deleted.
type expendable struct {
	log      *Log
	base     int64
	newestMs int64
}

// expendable returns the log's first segment if it may be deleted from a full disk.
func (l *Log) expendable() (e expendable, ok bool) {
	s, ok := l.inObjectStore()
	if !ok || !s.acquire() {
		return e, false
	}
	defer s.release()
	newest, err := s.newestMs()
	return expendable{l, s.base, newest}, err == nil
}

// inObjectStore returns the log's first segment if all of it is in the object store and readers
// find it there. The active segment never is.
func (l *Log) inObjectStore() (*segment, bool) {
	list := l.list()
	if l.usable() != nil || !l.config.Load().RemoteStorageEnable || len(list) < 2 {
		return nil, false
	}
	end := list[1].base
	return list[0], end <= min(l.expendableBelow(), l.offsets.remoteEnd.Load(), l.offsets.hw.Load())
}

// dropExpendable deletes the log's first segment, if it still begins at base and may be deleted,
// and returns its size. The log start stays: readers get these offsets from the object store.
func (l *Log) dropExpendable(base int64) (bytes int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err = l.usable(); err != nil {
		return 0, err
	}
	s, ok := l.inObjectStore()
	if !ok || s.base != base || l.cleaning.swapping {
		return 0, nil
	}
	bytes = s.size.Load()
	n, err := l.discardFirstLocked(1)
	if n == 0 {
		return 0, classify(err)
	}
	return bytes, nil
}

// expendables is a heap with the oldest segment first.
type expendables []expendable

// Len implements heap.Interface.
func (x *expendables) Len() int { return len(*x) }

// Less implements heap.Interface.
func (x *expendables) Less(i, j int) bool { return (*x)[i].newestMs < (*x)[j].newestMs }

// Swap implements heap.Interface.
func (x *expendables) Swap(i, j int) { (*x)[i], (*x)[j] = (*x)[j], (*x)[i] }

// Push implements heap.Interface.
func (x *expendables) Push(e any) { *x = append(*x, e.(expendable)) }

// Pop implements heap.Interface.
func (x *expendables) Pop() any {
	last := (*x)[len(*x)-1]
	*x = (*x)[:len(*x)-1]
	return last
}

// fullDirs returns how many directories are above the high watermark with nothing left to delete.
func (m *Manager) fullDirs() int {
	n := 0
	for _, d := range m.dirs {
		if d.full.Load() && d.err() == nil {
			n++
		}
	}
	return n
}

// pressureInterval is how often a directory's volume is checked: a disk can fill up within seconds.
const pressureInterval = time.Second
