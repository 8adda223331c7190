package storage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/invariants"
)

// commitParallel is how many logs of a directory are synced at a time. File
// systems with a journal join what is synced at the same time into one write of
// it; with more than this little is gained. ADR 10 has the figures.
const commitParallel = 32

// committer makes the logs of one directory durable for those who wait, in
// rounds. A round takes all logs that wait when it begins, syncs them side by
// side, and the names that they share once. Who comes meanwhile has a part in
// the next round, together with all others: however many appends wait, there
// is one sync per log and round.
type committer struct {
	dir *dataDir
	env *env
	mu  struct {
		invariants.Mutex[rankCommitter]
		waiting []*Log
	}
	wake chan struct{} // capacity 1: somebody waits
}

func newCommitter(e *env, d *dataDir) *committer {
	return &committer{dir: d, env: e, wake: make(chan struct{}, 1)}
}

// OnFlush has f told how every round went that FlushSoon asked for: all below
// upTo is durable, or err is why it cannot be; and of every flush of closed segments
// in the background that went well. It is called from a goroutine
// that others wait for, without locks of this package.
func (l *Log) OnFlush(f func(upTo int64, err error)) { l.flush.told.Store(&f) }

// FlushSoon has all that is in the log made durable, together with all other
// logs of its directory that wait for that. It does not wait; OnFlush is told
// once it is done. Nothing happens unless the manager runs.
func (l *Log) FlushSoon() { l.dir().commits.add(l) }

func (c *committer) add(l *Log) {
	if l.flush.waits.Swap(true) {
		return // in this directory's list, or in that of one that the log has left
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

// run makes rounds until ctx ends, and then one for those who wait by then: if
// the disk has failed they have to hear of it.
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

// roundLog is a log in a round. The log's flush token is held from its beginning
// to its end.
type roundLog struct {
	log  *Log
	upTo int64
	plan flushPlan
}

// round syncs logs. Each is told as soon as it is durable, without regard to
// the others.
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
			if d := one.log.dir(); d != c.dir { // it has moved while it waited; its token keeps it where it is now
				c.end(one, d.flushNames(c.env.fs))
				continue
			}
			c.end(one, err)
		}
	}
	c.env.metrics.commitLogs.Observe(float64(len(logs)))
	c.env.metrics.commitSeconds.Observe(c.env.now().Sub(began).Seconds())
}

// begin syncs all of a log but its name in the data directory.
func (c *committer) begin(l *Log) (roundLog, error) {
	l.flush.token.TakeBeside() // a flush in the background may hold it
	l.flush.waits.Store(false) // what is appended from here on may come too late
	one := roundLog{log: l, upTo: l.offsets.end.Load()}
	var err error
	one.plan, err = l.startFlush()
	return one, err
}

// end notes how it went and tells who waits.
func (c *committer) end(one roundLog, err error) {
	l := one.log
	err = l.finishFlush(one.plan, err)
	l.flush.token.Release()
	switch {
	case err == nil && l.offsets.flushed.Load() < min(one.upTo, l.offsets.end.Load()):
		c.add(l) // it was truncated meanwhile: begin anew
		return
	case err == nil, errors.Is(err, ErrLogClosed), errors.Is(err, ErrStorage): // the directory is reported once for all its logs
	default:
		l.logger.Warn("flush log: its appends are not acknowledged", errorAttr(err))
	}
	if told := l.flush.told.Load(); told != nil {
		(*told)(one.upTo, err)
	}
}
