package storage

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
)

// errCleaningAborted ends a cleaning because the log is truncated or deleted, or
// is not to be compacted any more. It says nothing about the log.
var errCleaningAborted = errors.New("cleaning was aborted")

// cleaningState is what a log keeps of its compaction.
type cleaningState struct {
	// token is held by a cleaning for as long as it lasts, and by what may not
	// run beside one.
	token invariants.Token[rankCleaningToken]
	mu    struct {
		invariants.Mutex[rankCleaning]
		stop    context.CancelCauseFunc // of the cleaning under way
		waiting int                     // how many want the token to keep cleanings off
	}
	// upTo: all below was cleaned, and no two records there have the same key.
	upTo atomic.Int64
	// pausedUntil is when the log may be cleaned again after a failure, in ms.
	pausedUntil atomic.Int64

	swapping bool // a list with other segments is about to be published; the log's lock guards it
}

// forbidCleaning aborts a cleaning under way, waits until it has let go of the
// log, and keeps others off until allow is called. It comes before Log.mu.
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

// beginCleaning takes the token, if nobody else wants it, and returns a context
// that forbidCleaning cancels. end gives the token back.
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

// pauseCleaning keeps the log from being cleaned for a while.
func (l *Log) pauseCleaning(d time.Duration) {
	l.cleaning.pausedUntil.Store(l.env.now().Add(d).UnixMilli())
}

// giveUpCleaning keeps it from being cleaned until the broker restarts. The
// first time it is true.
func (l *Log) giveUpCleaning() bool {
	return l.cleaning.pausedUntil.Swap(math.MaxInt64) != math.MaxInt64
}

// uncleanable says that compaction has given up on the log.
func (l *Log) uncleanable() bool { return l.cleaning.pausedUntil.Load() == math.MaxInt64 }
