package storage

import (
	"context"

	"github.com/varvelog/varve/vfs"
)

// writebackQueue is the number of ranges of a directory's segments that may wait for their
// write-back. When the queue is full the disk does not keep up, and ranges grow.
const writebackQueue = 64

// writebackAlign is a multiple of every system's page size. A page that is still being filled would
// be written twice.
const writebackAlign = 64 << 10

// writeback starts early to write appended pages to the disk, so that little of the page cache is
// dirty. The system would let dirty pages grow to a share of the memory and then block writers. A
// later fsync, for example when the segment is closed, would take seconds. It is a hint to the
// system: appends never wait for it, and it makes nothing durable.
type writeback struct {
	every int64 // bytes; 0: never
	queue chan writebackRange
}

type writebackRange struct {
	s        *segment // not pinned while it waits
	from, to int64
}

func newWriteback(every int64) *writeback {
	return &writeback{every: every, queue: make(chan writebackRange, writebackQueue)}
}

// appended queues a range of an active segment after an append. The caller holds Log.mu.
func (w *writeback) appended(s *segment) {
	if w.every <= 0 {
		return
	}
	from, to := max(s.writtenBack, s.synced), s.size.Load()&^(writebackAlign-1)
	if to-from < w.every {
		return
	}
	select {
	case w.queue <- writebackRange{s, from, to}:
		s.writtenBack = to
	default: // the next append requests a longer range
	}
}

// run passes ranges to the system until ctx ends. That may block while the disk's queue is full,
// and therefore must not be done by the appender.
func (w *writeback) run(ctx context.Context) {
	for {
		select {
		case r := <-w.queue:
			r.start()
		case <-ctx.Done():
			return
		}
	}
}

func (r writebackRange) start() {
	if !r.s.acquire() {
		return // the segment was deleted
	}
	defer r.s.release()
	f, err := r.s.file.acquire(false)
	if err != nil {
		return // an operation that needs the file will report the error
	}
	defer r.s.file.release()
	if starter, ok := f.(vfs.WritebackStarter); ok {
		starter.StartWriteback(r.from, r.to-r.from)
	}
}
