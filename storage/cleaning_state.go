package storage

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
)

// errCleaningAborted ends a cleaning because the log is being truncated or deleted, or is no longer
// to be compacted. It does not mean that the log has a fault.
var errCleaningAborted = errors.New("cleaning was aborted")

// cleaningState is the compaction state of a log.
type cleaningState struct {
	// token is held while a cleaning runs, and by operations that must not run beside one:
	// truncation, a start from the object store, deletion, a move.
	token invariants.Token[rankCleaningToken]
	mu    struct {
		invariants.Mutex[rankCleaning]
		// stop cancels the cleaning under way; nil if there is none.
		stop context.CancelCauseFunc
		// waiting counts the callers of forbidCleaning that have or want the token.
		waiting int
	}
	// upTo is the end of the clean part: no two records below it have the same key.
	upTo atomic.Int64
	// pausedUntil is when the log may be cleaned again after a failure, in unix ms. 0 is no pause;
	// MaxInt64 means that compaction has given up on the log until a restart.
	pausedUntil atomic.Int64

	// swapping means that a list with other segments is about to be published. Retention then
	// waits. Guarded by the log's lock.
	swapping bool
}

// forbidCleaning aborts a cleaning under way, waits until it has released the log, and keeps others
// from starting until allow is called. It must be called before Log.mu is taken.
func (l *Log) forbidCleaning() (allow func()) {
	c := &l.cleaning
	c.mu.Lock()
	c.mu.waiting++
	if c.mu.stop != nil {
		c.mu.stop(errCleaningAborted)
	}
	c.mu.Unlock()
	c.token.Take()
	return func() {
		c.mu.Lock()
		c.mu.waiting--
		c.mu.Unlock()
		c.token.Release()
	}
}

// beginCleaning takes the token, unless another caller has or wants it. It returns a context that
// forbidCleaning cancels; end releases the token.
func (l *Log) beginCleaning(ctx context.Context) (_ context.Context, end func(), ok bool) {
	c := &l.cleaning
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.waiting > 0 {
		return ctx, nil, false
	}
	if !c.token.TryTake() {
		return ctx, nil, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.stop = cancel
	return ctx, func() {
		c.mu.Lock()
		c.mu.stop = nil
		c.mu.Unlock()
		cancel(nil)
		c.token.Release()
	}, true
}

// pauseCleaning keeps the log from being cleaned for the duration d.
func (l *Log) pauseCleaning(d time.Duration) {
	l.cleaning.pausedUntil.Store(l.env.now().Add(d).UnixMilli())
}

// giveUpCleaning keeps the log from being cleaned until the broker restarts. It returns true the
// first time.
func (l *Log) giveUpCleaning() bool {
	return l.cleaning.pausedUntil.Swap(math.MaxInt64) != math.MaxInt64
}

// uncleanable reports whether compaction has given up on the log.
func (l *Log) uncleanable() bool { return l.cleaning.pausedUntil.Load() == math.MaxInt64 }
