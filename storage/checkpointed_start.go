package storage

import (
	"sync/atomic"

	"github.com/varvelog/varve/invariants"
)

// checkpointedStart tracks the log start that the log would have after a crash: the one in its
// directory's checkpoint. offset may be less than the file's value, never more.
type checkpointedStart struct {
	mu invariants.Mutex[rankStartCheckpoint]
	// mu guards the fields up to told.
	offset  int64
	pending int64 // the value being written; -1: none, or the write under way no longer counts
	news    bool  // offset has grown since told was last called
	told    atomic.Pointer[func()]
}

// CheckpointedStartOffset returns the log start that this log would have after a crash. It is at
// most StartOffset and follows it within milliseconds while the manager runs. A crash before it has
// followed brings back records that were deleted.
func (l *Log) CheckpointedStartOffset() int64 {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(c.offset, l.offsets.start.Load())
}

// OnStartCheckpointed registers f, which is called after CheckpointedStartOffset has grown. The
// goroutine that writes the directory's checkpoints calls it, without locks of this package.
func (l *Log) OnStartCheckpointed(f func()) { l.startCheckpoint.told.Store(&f) }

// loadedStart sets what the checkpoint had when the log was opened.
func (l *Log) loadedStart(offset int64) {
	l.startCheckpoint.offset, l.startCheckpoint.pending = offset, -1
}

// beginStartCheckpoint returns the log start to write to d's checkpoint. While the log moves, the
// checkpoints of two directories have it. Only the one of the directory that the log is in counts.
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

// startCheckpointWritten is called once d's checkpoint is durable. It has no effect if the log is
// not in d, or if lowerStartCheckpoint was called since the write began.
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

// tellStartCheckpointed calls the function of OnStartCheckpointed if the start has grown.
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

// lowerStartCheckpoint is called after the log start was lowered to offset, or after the log has
// moved to a directory whose checkpoint may have no more than offset. A write that is under way
// then no longer counts.
func (l *Log) lowerStartCheckpoint(offset int64) {
	c := &l.startCheckpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.pending = min(c.offset, offset), -1
}
