package storage

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// env is the state that all logs of a manager share.
type env struct {
	fs         vfs.FS
	files      fileCache
	logger     *slog.Logger
	metrics    *metrics
	now        func() time.Time
	expiration time.Duration // how long idle producers are remembered
	hotTail    int64         // bytes, see the constant hotTail

	lastConfig atomic.Pointer[Config] // see share

	deletions atomic.Int64 // numbers the files of deleted segments
	trash     trash
	decoding  byteBudget // limits decompressed records in memory
}

// share returns settings that never change. Equal settings in sequence share one copy, because the
// logs of a topic are opened one after the other.
func (e *env) share(c Config) *Config {
	if last := e.lastConfig.Load(); last != nil && *last == c {
		return last
	}
	e.lastConfig.Store(&c)
	return &c
}

// segmentUnused is called when the last reference to a segment is released.
func (e *env) segmentUnused(s *segment) {
	if s.doomed.Load() {
		e.trash.add(trashItem{due: time.Time{}, segment: s})
	}
}

// trash lists what is to be removed from disk, and when. It is not durable: the next start finds by
// their names the files that were not removed.
type trash struct {
	invariants.Mutex[rankTrash]
	items []trashItem
}

// trashItem is one of three: a deleted segment whose list reference is to be released (drop), the
// files of an unused segment, or a whole directory.
type trashItem struct {
	due     time.Time
	drop    bool
	segment *segment
	dir     string
}

func (t *trash) add(items ...trashItem) {
	t.Lock()
	defer t.Unlock()
	t.items = append(t.items, items...)
}

// path returns where the item's files are.
func (i trashItem) path() string {
	if i.segment == nil {
		return i.dir
	}
	i.segment.names.RLock()
	defer i.segment.names.RUnlock()
	return i.segment.names.dir
}

// take removes and returns the items that are due and whose path is accepted by in.
func (t *trash) take(now time.Time, in func(path string) bool) []trashItem {
	t.Lock()
	defer t.Unlock()
	due := make([]trashItem, 0, len(t.items))
	t.items = slices.DeleteFunc(t.items, func(item trashItem) bool {
		if item.due.After(now) || !in(item.path()) {
			return false
		}
		due = append(due, item)
		return true
	})
	return due
}

// emptyTrash removes the items that are due. A failure is logged and left to the next start.
func (e *env) emptyTrash(now time.Time) {
	e.emptyTrashIn(now, func(string) bool { return true })
}

// emptyTrashIn is emptyTrash for the paths that in accepts.
func (e *env) emptyTrashIn(now time.Time, in func(path string) bool) {
	for {
		due := e.trash.take(now, in)
		if len(due) == 0 {
			return
		}
		for _, item := range due {
			var err error
			switch {
			case item.drop:
				// The release of the last reader adds the files to the trash.
				item.segment.release()
			case item.segment != nil:
				err = item.segment.removeFiles(e.fs)
				e.metrics.deletedSegments.Inc()
			default:
				err = vfs.RemoveAll(e.fs, item.dir)
			}
			if err != nil {
				e.logger.Warn("remove deleted files", slog.String("dir", item.dir), slog.Any("error", err))
			}
		}
	}
}

// flushQueue lists the logs with closed segments that are not durable yet, in order of arrival.
type flushQueue struct {
	mu     invariants.Mutex[rankFlushQueue]
	queued map[*Log]bool
	order  []*Log
	wake   chan struct{} // capacity 1: a log was added
}

func (q *flushQueue) add(l *Log) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued[l] {
		return
	}
	q.queued[l] = true
	q.order = append(q.order, l)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next removes and returns the log that has waited longest; nil if there is none.
func (q *flushQueue) next() *Log {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil
	}
	l := q.order[0]
	q.order = q.order[1:]
	delete(q.queued, l)
	return l
}
