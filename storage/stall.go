package storage

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvelog/varve/vfs"
)

// A disk may fail by not answering: a write, a sync or a rename does not return. The goroutine of
// that operation cannot be stopped, nor can those that wait for its locks; all others must
// continue. Therefore each directory has its own goroutines (Manager.Run), and Run does not wait
// for those of a directory that hangs. An operation that takes too long fails its directory.

// holds reports whether a path is the directory or in it.
func (d *dataDir) holds(path string) bool {
	return path == d.path || strings.HasPrefix(path, d.path+string(filepath.Separator))
}

// watchOf returns the watch of the disk that a path is on. Paths outside of the directories (their
// parents, while they are created) have a watch that is never checked.
func (m *Manager) watchOf(path string) *vfs.Watch {
	for _, d := range m.dirs {
		if d.holds(path) {
			return &d.watch
		}
	}
	return &m.elsewhere
}

// watchStalls fails the directories in which an operation does not return.
func (m *Manager) watchStalls(ctx context.Context) {
	every(ctx, max(m.options.StallTimeout/vfs.StuckTicks, time.Millisecond), func(context.Context) {
		for _, d := range m.dirs {
			if d.watch.Tick() && d.stall(m.options.StallTimeout) && m.stalledDirs() == 1 {
				close(m.anyHung)
			}
		}
	})
}

// stalledDirs returns how many directories hang.
func (m *Manager) stalledDirs() int {
	n := 0
	for _, d := range m.dirs {
		if d.stalled.Load() {
			n++
		}
	}
	return n
}

// stall fails a directory without touching its disk. It returns false if it did so before.
func (d *dataDir) stall(after time.Duration) bool {
	if d.stalled.Swap(true) {
		return false
	}
	close(d.hung)
	d.giveUp(fmt.Errorf("the disk hangs: an operation has not returned for %v", after))
	return true
}

// tellWaiting calls the OnFlush function of each log with unflushed records in a directory that
// hangs, because the directory's committer cannot. Each call has its own goroutine, which belongs
// to the directory: the disk may hold up the function as well.
func (m *Manager) tellWaiting(d *dataDir) {
	for _, l := range m.all() {
		told := l.flush.told.Load()
		if told == nil || l.dir() != d || l.offsets.flushed.Load() >= l.offsets.end.Load() {
			continue
		}
		d.work.Go(func() { (*told)(l.offsets.end.Load(), d.err()) })
	}
}

// runDir does the background work of one directory until ctx ends.
func (m *Manager) runDir(ctx context.Context, d *dataDir) {
	d.work.Go(func() { d.commits.run(ctx) })
	d.work.Go(func() { d.writeback.run(ctx) })
	d.work.Go(func() { m.moveLoop(ctx, d) })
	d.work.Go(func() { m.retentionLoop(ctx, d) })
	d.work.Go(func() {
		every(ctx, pressureInterval, func(ctx context.Context) { m.relieve(ctx, d) })
	})
	d.work.Go(func() { m.checkpointLoop(ctx, d) })
	d.work.Go(func() { m.flushLoop(ctx, d) })
	d.work.Go(func() {
		every(ctx, m.options.FlushInterval, func(ctx context.Context) {
			m.closeLate(ctx, d)
			m.flushOverdue(d)
		})
	})
	d.work.Go(func() {
		every(ctx, m.options.FlushInterval, func(context.Context) { m.env.emptyTrashIn(m.env.now(), d.holds) })
	})
	if !waitUnlessHung(ctx, d.work.Wait, d.hung) {
		m.env.logger.Error("data directory hangs: its work is left behind", slog.String("dir", d.path))
	}
}

// waitUnlessHung waits for work to end. After ctx has ended it no longer waits for work that a
// hanging disk holds up, and returns false.
func waitUnlessHung(ctx context.Context, wait func(), hung <-chan struct{}) bool {
	done := make(chan struct{})
	go func() { // may outlive Run: nothing can end it while the disk hangs
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	case <-hung:
		return false
	}
}

// in returns the logs of a directory.
func (m *Manager) in(d *dataDir) []*Log {
	all := m.all()
	logs := make([]*Log, 0, len(all))
	for _, l := range all {
		if l.dir() == d {
			logs = append(logs, l)
		}
	}
	return logs
}
