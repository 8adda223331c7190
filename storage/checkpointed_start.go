package storage

import (
	"sync/atomic"

	"github.com/varvelog/varve/invariants"
)

// checkpointedStart is the log start that a log has after a crash: the one in the
// checkpoint of its directory. It may be less than the file has, never more.
type checkpointedStart struct {
	mu      invariants.Mutex[rankStartCheckpoint]
	offset  int64
	pending int64 // it is being written; -1: nothing is, or what is written no longer counts
	news    bool  // offset has grown and told does not know
	told    atomic.Pointer[func()]
}

// CheckpointedStartOffset is the log start that this log would have after a crash.
// It is at most StartOffset and follows it within milliseconds, as long as the
// manager runs. A crash before it has followed brings back what was deleted.
func (l *Log) CheckpointedStartOffset() int64 {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(c.offset, l.offsets.start.Load())
}

// OnStartCheckpointed has f called whenever CheckpointedStartOffset has grown. It is
// called from the goroutine that writes the directory's checkpoints, without locks of
// this package.
func (l *Log) OnStartCheckpointed(f func()) { l.startCheckpoint.told.Store(&f) }

// loadedStart says what the checkpoint had when the log was opened.
func (l *Log) loadedStart(offset int64) {
	l.startCheckpoint.offset, l.startCheckpoint.pending = offset, -1
}

// beginStartCheckpoint is what a directory's checkpoint shall have. Of two
// directories, while the log moves, the one that it is in counts.
func (l *Log) beginStartCheckpoint(d *dataDir) int64 {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	start := l.offsets.start.Load()
	if l.dir() == d {
		c.pending = start
	}
	return start
}

// startCheckpointWritten is called when the directory's checkpoint is durable.
func (l *Log) startCheckpointWritten(d *dataDir) {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.dir() != d || c.pending < 0 {
		return
	}
	c.news = c.news || c.pending > c.offset
	c.offset, c.pending = c.pending, -1
}

// tellStartCheckpointed calls OnStartCheckpointed's function if there is news for it.
func (l *Log) tellStartCheckpointed() {
	c := &l.startCheckpoint
	c.mu.Lock()
	news := c.news
	c.news = false
	c.mu.Unlock()
	if told := c.told.Load(); news && told != nil {
		(*told)()
	}
}

// lowerStartCheckpoint is called after log start went down to an offset, or after the
// log has moved to where the checkpoint may have no more than that.
func (l *Log) lowerStartCheckpoint(offset int64) {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.pending = min(c.offset, offset), -1
}
