package storage

import (
	"context"

	"github.com/varvelog/varve/vfs"
)

// writebackQueue is how many ranges of a directory's segments wait to be
// written back. When it is full the disk does not keep up, and ranges grow.
const writebackQueue = 64

// writebackAlign is a multiple of every system's page size. A page that is
// still being filled would be written twice.
const writebackAlign = 64 << 10

// writeback begins early to write to the disk what appends leave in the page
// cache, so that what is dirty stays little: the system would let it grow up to
// a share of the memory, then hold up whoever writes, and a later fsync, when
// the segment is closed say, would take seconds. It is a hint to the system.
// Appends never wait for it, and it makes nothing durable.
type writeback struct {
	every int64 // bytes; 0: never
	queue chan writebackRange
}

type writebackRange struct {
	s        *segment // not pinned
	from, to int64
}

func newWriteback(every int64) *writeback {
	return &writeback{every: every, queue: make(chan writebackRange, writebackQueue)}
}

// appended looks at an active segment after an append, under its log's lock.
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
	default: // the next append asks for more
	}
}

// run passes ranges on until ctx ends. That can take a while where the disk's
// own queue is full, and is therefore not for the appender.
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
		return // deleted meanwhile
	}
	defer r.s.release()
	f, err := r.s.file.acquire(false)
	if err != nil {
		return // whoever needs the file will be told
	}
	defer r.s.file.release()
	if starter, ok := f.(vfs.WritebackStarter); ok {
		starter.StartWriteback(r.from, r.to-r.from)
	}
}
