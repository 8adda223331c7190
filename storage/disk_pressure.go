package storage

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/varvelog/varve/vfs"
)

// A volume that is nearly full is relieved of what the object store has too: the segments of tiered
// logs that are below their remote end, the oldest of all logs in the directory first, whatever local
// retention says. Never one that is not in the object store, and never an active one: then the disk
// fills up, and appends are refused (S7).

// Watermarks say how full a volume may get (varve.disk.high.watermark), and how full it is left then
// (varve.disk.low.watermark): up to 1 as a fraction of the volume, above that in bytes. A High of 0
// is no bound.
type Watermarks struct{ High, Low float64 }

// bytesOf is a watermark of a volume in bytes.
func bytesOf(mark float64, total int64) int64 {
	if mark <= 1 {
		return int64(mark * float64(total))
	}
	return int64(mark)
}

// excess is by how much the volume of the directory is above the low watermark, once it has passed
// the high one; 0: it has not, or it is not known how full it is.
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

// relieve brings the volume of a directory below its low watermark, if it is above the high one and
// as far as that can be done. Directories on one volume take turns, so that they do not all free it;
// one whose disk hangs holds up none.
func (m *Manager) relieve(ctx context.Context, d *dataDir) {
	if m.excess(d) == 0 {
		d.full.Store(false)
		return
	}
	if busy := m.relieving.Load(); busy != nil && busy.err() == nil || !m.relieving.CompareAndSwap(busy, d) {
		return // the next look will do
	}
	defer m.relieving.CompareAndSwap(d, nil)
	// What is deleted already waits for file.delete.delay.ms, which is a courtesy.
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

// dropTiered deletes at least so many bytes of segments, if there are as many.
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

// expendable is the first segment of a log that may go.
type expendable struct {
	log      *Log
	base     int64
	newestMs int64
}

// expendable returns the log's first segment if it may go from a full disk.
func (l *Log) expendable() (e expendable, ok bool) {
	s, ok := l.inObjectStore()
	if !ok || !s.acquire() {
		return e, false
	}
	defer s.release()
	newest, err := s.newestMs()
	return expendable{l, s.base, newest}, err == nil
}

// inObjectStore is the log's first segment if all of it is in the object store and readers find it
// there.
func (l *Log) inObjectStore() (*segment, bool) {
	list := l.list()
	if l.usable() != nil || !l.config.Load().RemoteStorageEnable || len(list) < 2 {
		return nil, false
	}
	end := list[1].base
	return list[0], end <= min(l.expendableBelow(), l.offsets.remoteEnd.Load(), l.offsets.hw.Load())
}

// dropExpendable deletes the log's first segment, if it still is the one of that base and may go, and
// returns its size. The log start stays: readers find what was in it in the object store.
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

// expendables is a heap, the oldest first.
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

// fullDirs are how many directories are above the high watermark and cannot be relieved.
func (m *Manager) fullDirs() int {
	n := 0
	for _, d := range m.dirs {
		if d.full.Load() && d.err() == nil {
			n++
		}
	}
	return n
}

// pressureInterval is how often a directory's volume is looked at: a disk fills up within seconds.
const pressureInterval = time.Second
