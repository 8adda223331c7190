package storage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/invariants"
)

// commitParallel is how many logs of a directory are synced in parallel. File systems with a
// journal combine concurrent syncs into one write of the journal; more than this gains little. ADR
// 10 has the figures.
const commitParallel = 32

// committer makes the logs of one directory durable, in rounds. A round takes all logs that wait
// when it begins and syncs them in parallel, and the directory that holds their names once. A
// request that arrives during a round joins the next one, with all others. So there is one sync per
// log and round, however many appends wait.
type committer struct {
	dir *dataDir
	env *env
	mu  struct {
		invariants.Mutex[rankCommitter]
		waiting []*Log
	}
	wake chan struct{} // capacity 1: a log waits
}

func newCommitter(e *env, d *dataDir) *committer {
	return &committer{dir: d, env: e, wake: make(chan struct{}, 1)}
}

// OnFlush registers f, which is called after each flush round started by FlushSoon. If err is nil,
// every offset below upTo is durable; otherwise err is why it is not. f is also called after each
// successful flush of closed segments in the background. If the disk hangs while the log has
// unflushed records, f gets that error. f must not block: other logs of the round wait for it. It
// is called without locks of this package.
func (l *Log) OnFlush(f func(upTo int64, err error)) { l.flush.told.Store(&f) }

// FlushSoon asks for everything in the log to be made durable, together with all other logs of the
// directory that wait. It does not block; the function of OnFlush gets the result. It has no effect
// unless the manager runs.
func (l *Log) FlushSoon() { l.dir().commits.add(l) }

func (c *committer) add(l *Log) {
	if l.flush.waits.Swap(true) {
		// It is queued in this directory, or in one that the log has left.
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.waiting = append(c.mu.waiting, l)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *committer) take() []*Log {
	c.mu.Lock()
	defer c.mu.Unlock()
	logs := c.mu.waiting
	c.mu.waiting = nil
	return logs
}

// run makes rounds until ctx ends, and then one more for the logs that wait by then: if the disk
// has failed they must get the error.
func (c *committer) run(ctx context.Context) {
	for {
		last := ctx.Err() != nil
		if logs := c.take(); len(logs) > 0 {
			c.round(logs)
		}
		if last {
			return
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
		}
	}
}

// roundLog is a log in a round. Its flush token is held from begin to end.
type roundLog struct {
	log  *Log
	upTo int64
	plan flushPlan
}

// round syncs the logs. Each gets its result as soon as it is durable, without waiting for the
// others. The exception are logs with a new directory, which wait for one sync of the names.
func (c *committer) round(logs []*Log) {
	began := c.env.now()
	var next atomic.Int64
	var unnamed struct { // logs whose directory's name is not durable
		invariants.Mutex[rankRound]
		logs []roundLog
	}
	work := func() {
		for i := next.Add(1); i <= int64(len(logs)); i = next.Add(1) {
			one, err := c.begin(logs[i-1])
			if err == nil && one.plan.newDir {
				unnamed.Lock()
				unnamed.logs = append(unnamed.logs, one)
				unnamed.Unlock()
				continue
			}
			c.end(one, err)
		}
	}
	var workers sync.WaitGroup
	for range min(commitParallel, len(logs)) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	if len(unnamed.logs) > 0 {
		err := c.dir.flushNames(c.env.fs)
		for _, one := range unnamed.logs {
			// It has moved while it waited. Its token keeps it where it is now.
			if d := one.log.dir(); d != c.dir {
				c.end(one, d.flushNames(c.env.fs))
				continue
			}
			c.end(one, err)
		}
	}
	c.env.metrics.commitLogs.Observe(float64(len(logs)))
	c.env.metrics.commitSeconds.Observe(c.env.now().Sub(began).Seconds())
}

// begin syncs everything of a log except its name in the data directory.
func (c *committer) begin(l *Log) (roundLog, error) {
	// A flush in the background may hold it.
	l.flush.token.TakeBeside()
	// Before the end is read: an append that this round misses must find waits cleared, so that its
	// FlushSoon queues the log again.
	l.flush.waits.Store(false)
	one := roundLog{log: l, upTo: l.offsets.end.Load()}
	var err error
	one.plan, err = l.startFlush()
	return one, err
}

// end records the result of the round for one log and reports it to the function of OnFlush.
func (c *committer) end(one roundLog, err error) {
	l := one.log
	err = l.finishFlush(one.plan, err)
	l.flush.token.Release()
	switch {
	case err == nil && l.offsets.flushed.Load() < min(one.upTo, l.offsets.end.Load()):
		// The log was truncated during the round: flush it again.
		c.add(l)
		return
	// ErrStorage is reported once for the whole directory.
	case err == nil, errors.Is(err, ErrLogClosed), errors.Is(err, ErrStorage):
	default:
		l.logger.Warn("flush log: its appends are not acknowledged", errorAttr(err))
	}
	if told := l.flush.told.Load(); told != nil {
		(*told)(one.upTo, err)
	}
}
