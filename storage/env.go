package storage

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// env is what all logs of a manager share.
type env struct {
	fs         vfs.FS
	files      fileCache
	logger     *slog.Logger
	metrics    *metrics
	now        func() time.Time
	expiration time.Duration // of idle producers
	hotTail    int64         // see hotTail

	lastConfig atomic.Pointer[Config] // see share

	deletions atomic.Int64 // numbers the files of deleted segments
	trash     trash
	decoding  byteBudget // of decompressed records
}

// share returns settings that are never changed. The logs of a topic come one
// after the other and get the same.
func (e *env) share(c Config) *Config {
	if last := e.lastConfig.Load(); last != nil && *last == c {
		return last
	}
	e.lastConfig.Store(&c)
	return &c
}

// segmentUnused is called when nobody uses a segment any more.
func (e *env) segmentUnused(s *segment) {
	if s.doomed.Load() {
		e.trash.add(trashItem{due: time.Time{}, segment: s})
	}
}

// trash holds what is to be removed from disk, and when.
type trash struct {
	invariants.Mutex[rankTrash]
	items []trashItem
}

// trashItem is one of three: the list's reference to a deleted segment that is
// to be given up (drop), an unused segment's files, or a whole directory.
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

// path is where the item's files are.
func (i trashItem) path() string {
	if i.segment == nil {
		return i.dir
	}
	i.segment.names.RLock()
	defer i.segment.names.RUnlock()
	return i.segment.names.dir
}

// take removes and returns what is due in a part of the paths.
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

// emptyTrash removes what is due. What fails is logged and left for the next
// start, which removes it again.
func (e *env) emptyTrash(now time.Time) {
	e.emptyTrashIn(now, func(string) bool { return true })
}

// emptyTrashIn is emptyTrash for the paths of one directory.
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
				item.segment.release() // the last reader's release comes back here with the files
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

// flushQueue holds the logs with closed segments that are not durable yet.
type flushQueue struct {
	mu     invariants.Mutex[rankFlushQueue]
	queued map[*Log]bool
	order  []*Log
	wake   chan struct{} // capacity 1
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

// next takes the log that waits longest; nil when there is none.
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
