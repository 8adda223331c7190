package replication

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/replication/role"
)

// replicaFetcher follows one leader: it asks for all its partitions in one request after the other.
// Its goroutine owns conn and what is below.
type replicaFetcher struct {
	env  *fetchEnv
	key  fetcherKey
	conn LeaderConn

	changed chan struct{} // one token: partitions were added or removed, or are on the disk

	mu         sync.Mutex
	partitions map[*Partition]bool
	stopped    bool // the last partition has left

	backoffUntil map[*Partition]time.Time // when partitions that failed are asked for again
	troubles     map[*Partition]trouble   // partitions of which the newest answer was of no use
	positions    []ReplicaPosition
	unflushed    bool          // some are left out until they are on the disk
	due          time.Duration // until the first is due of those that are left out
	asked        []*Partition  // at the same place as their position
}

// The pauses after a failure: of a partition, and of the connection, which doubles.
const (
	partitionBackoff = 100 * time.Millisecond
	// electionBackoff is a partition's first pause where its leader and this broker have not seen the
	// same election yet, which is a matter of milliseconds. It doubles up to partitionBackoff.
	electionBackoff = 5 * time.Millisecond
	// unregisteredBackoff is the pause before the next look whether this broker is registered.
	unregisteredBackoff = 20 * time.Millisecond
	reconnectMin        = 10 * time.Millisecond
	reconnectMax        = time.Second
	fetchGrace          = 2 * time.Second // for an answer, beyond the time that the leader may wait
	// flushWait is how long the leader may wait for news of the others while a partition waits for
	// its disk here, about as long as that takes.
	flushWait = 2 * time.Millisecond
)

func newReplicaFetcher(env *fetchEnv, key fetcherKey, conn LeaderConn) *replicaFetcher {
	return &replicaFetcher{
		env: env, key: key, conn: conn, changed: make(chan struct{}, 1),
		partitions: map[*Partition]bool{}, backoffUntil: map[*Partition]time.Time{}, troubles: map[*Partition]trouble{},
	}
}

// add takes a partition in. interrupt has it asked for at once.
func (f *replicaFetcher) add(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partitions[p] = true
}

// remove lets a partition go. With the last one the fetcher ends, and it returns true.
func (f *replicaFetcher) remove(p *Partition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.partitions, p)
	if len(f.partitions) > 0 {
		return false
	}
	f.stopped = true
	f.interrupt()
	return true
}

// interrupt ends the wait for news of the others, so that new partitions are asked for at once. The
// connection and its session stay.
func (f *replicaFetcher) interrupt() {
	f.signal()
	f.conn.Hurry()
}

func (f *replicaFetcher) isStopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped
}

func (f *replicaFetcher) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *replicaFetcher) run(ctx context.Context) {
	defer f.conn.Close()
	pause := backoff.Backoff{Min: reconnectMin, Max: reconnectMax}
	for {
		wait := f.prepare()
		if wait < 0 {
			return
		}
		if wait > 0 {
			if !f.idle(ctx, wait) {
				return
			}
			continue
		}
		err := f.fetch(ctx)
		switch {
		case ctx.Err() != nil, err != nil && f.isStopped():
			return
		case err == nil:
			pause.Reset()
		default:
			f.failed(err, pause.First())
			if !f.idle(ctx, pause.Next()) {
				return
			}
		}
	}
}

// idle waits, or until partitions come or go; it returns false at the end of ctx.
func (f *replicaFetcher) idle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-f.changed:
	case <-timer.C:
	}
	return true
}

// prepare lists where to fetch. It returns how long to wait if there is nothing to ask for yet, and
// -1 if there never will be.
func (f *replicaFetcher) prepare() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return -1
	}
	if f.env.self().Epoch == 0 {
		return unregisteredBackoff // the leader would refuse
	}
	now, next := f.env.now(), time.Second
	defer func() { f.due = next }()
	f.positions, f.asked, f.unflushed = f.positions[:0], f.asked[:0], false
	for p := range f.backoffUntil {
		if !f.partitions[p] {
			delete(f.backoffUntil, p)
		}
	}
	for p := range f.troubles {
		if !f.partitions[p] {
			delete(f.troubles, p)
		}
	}
	for p := range f.partitions {
		if until, resting := f.backoffUntil[p]; resting {
			if left := until.Sub(now); left > 0 {
				next = min(next, left)
				continue
			}
			delete(f.backoffUntil, p)
		}
		at, fetch := p.position(f.key.leader)
		switch fetch {
		case role.NotFollowing: // assign will take it out
		case role.Blocked:
			next = min(next, partitionBackoff)
		case role.FlushFirst: // flushed wakes this goroutine
			f.unflushed = true
		case role.Ready:
			if left := f.env.held(p, now); left > 0 {
				next = min(next, left)
				continue
			}
			at.MaxBytes = f.env.o.ReplicaFetchMaxBytes
			f.positions, f.asked = append(f.positions, at), append(f.asked, p)
		}
	}
	if len(f.positions) > 0 {
		return 0
	}
	return next
}

// fetch asks once and takes over what comes.
func (f *replicaFetcher) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.env.o.ReplicaMaxWait+fetchGrace)
	defer cancel()
	select {
	case <-f.changed: // partitions that came meanwhile are asked for right away
		return nil
	default:
	}
	answers, err := f.conn.Fetch(ctx, &ReplicaFetch{
		Replica: f.env.self(),
		MaxWait: f.wait(), MinBytes: 1, MaxBytes: f.env.o.ReplicaResponseMaxBytes, Positions: f.positions,
	})
	if err != nil {
		return err
	}
	for i := range answers {
		f.take(&answers[i])
	}
	return nil
}

// wait is how long the leader may wait for news: not beyond the moment at which a partition that
// rests, or waits for the disk, is due.
func (f *replicaFetcher) wait() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.unflushed:
		return min(f.env.o.ReplicaMaxWait, flushWait)
	case len(f.positions) < len(f.partitions):
		return min(f.env.o.ReplicaMaxWait, f.due)
	}
	return f.env.o.ReplicaMaxWait
}

// take hands an answer to its partition.
func (f *replicaFetcher) take(got *ReplicaFetched) {
	p := f.asked[got.At]
	f.env.received(p, len(got.Records))
	err := p.replicate(f.positions[got.At], got)
	if err == nil {
		f.goesOn(p)
		return
	}
	if errors.Is(err, ErrOffsetMovedToTier) {
		f.env.restore(p)
	}
	f.env.metrics.followErrors.Inc()
	f.backoffUntil[p] = f.env.now().Add(f.stuck(p, err))
}

// failed reports a leader that does not answer.
func (f *replicaFetcher) failed(err error, first bool) {
	f.env.metrics.fetchFailures.Inc()
	if first {
		f.env.logger.Warn("the leader cannot be fetched from", slog.Int("leader", int(f.key.leader.Broker)), slog.Any("error", err))
	}
	if f.env.o.Suspect != nil {
		f.env.o.Suspect(f.key.leader, err)
	}
}
