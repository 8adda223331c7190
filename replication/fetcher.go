package replication

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/replication/role"
)

// replicaFetcher follows one leader: it fetches all its partitions with one request after another.
// Its goroutine owns conn and the fields after stopped; mu guards partitions and stopped.
type replicaFetcher struct {
	env  *fetchEnv
	key  fetcherKey
	conn LeaderConn

	changed chan struct{} // one token: partitions were added or removed, or were synced

	mu         sync.Mutex
	partitions map[*Partition]bool
	stopped    bool // the last partition was removed

	// backoffUntil says when failed partitions are fetched again.
	backoffUntil map[*Partition]time.Time
	troubles     map[*Partition]trouble // partitions whose newest answer could not be used
	positions    []ReplicaPosition
	unflushed    bool          // some partitions are left out until they are on disk
	due          time.Duration // time until the first of the left-out partitions is due
	asked        []*Partition  // parallel to positions
}

// The pauses after a failure of a partition, and of the connection, whose pause doubles.
const (
	partitionBackoff = 100 * time.Millisecond
	// electionBackoff is a partition's first pause if its leader and this broker have not seen the
	// same election yet, which takes milliseconds. It doubles up to partitionBackoff.
	electionBackoff = 5 * time.Millisecond
	// unregisteredBackoff is the pause before the next check whether this broker is registered.
	unregisteredBackoff = 20 * time.Millisecond
	reconnectMin        = 10 * time.Millisecond
	reconnectMax        = time.Second
	fetchGrace          = 2 * time.Second // for an answer, beyond the leader's wait time
	// flushWait is how long the leader may wait for news of other partitions while a partition
	// waits for its disk here, about as long as a sync takes.
	flushWait = 2 * time.Millisecond
)

// cutParallel is how many logs of a fetcher are cut in parallel. File systems with a journal
// combine concurrent syncs; storage syncs as many logs of a directory at the same time.
const cutParallel = 32

func newReplicaFetcher(env *fetchEnv, key fetcherKey, conn LeaderConn) *replicaFetcher {
	return &replicaFetcher{
		env: env, key: key, conn: conn, changed: make(chan struct{}, 1),
		partitions: map[*Partition]bool{}, backoffUntil: map[*Partition]time.Time{}, troubles: map[*Partition]trouble{},
	}
}

// add adds a partition. The caller makes it fetched at once with interrupt.
func (f *replicaFetcher) add(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partitions[p] = true
}

// remove removes a partition. The fetcher ends with the last one; then remove returns true.
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

// interrupt ends the wait for news of the other partitions, so that new partitions are fetched at
// once. The connection and its session stay open.
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

// idle waits for d, or until a signal. It returns false if ctx has ended.
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

// prepare collects the positions to fetch. If there is none yet it returns how long to wait, and -1
// if there never will be.
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
		case role.NotFollowing: // assign removes it
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

// fetch sends one request and applies the answers.
func (f *replicaFetcher) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.env.o.ReplicaMaxWait+fetchGrace)
	defer cancel()
	select {
	case <-f.changed: // partitions have been added: start over to include them
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
	f.apply(answers)
	return nil
}

// apply applies a leader's answers. Logs that have to be cut come last and in parallel, because
// each waits for the disk. After an election that may be every log that follows the new leader,
// and until the next fetch none of them counts for the leader's high watermark.
func (f *replicaFetcher) apply(answers []ReplicaFetched) {
	var cut []*ReplicaFetched
	for i := range answers {
		if got := &answers[i]; got.cutsLog() {
			cut = append(cut, got)
		} else {
			f.take(got, f.replicate(got))
		}
	}
	if len(cut) == 0 {
		return
	}
	errs := make([]error, len(cut))
	var g errgroup.Group
	g.SetLimit(cutParallel)
	for i, got := range cut {
		g.Go(func() error { errs[i] = f.replicate(got); return nil })
	}
	_ = g.Wait() // the errors are in errs
	for i, got := range cut {
		f.take(got, errs[i])
	}
}

// replicate applies one answer to its partition. It may be called from any goroutine.
func (f *replicaFetcher) replicate(got *ReplicaFetched) error {
	return f.asked[got.At].replicate(f.positions[got.At], got)
}

// wait returns how long the leader may wait for news: at most until a partition is due that pauses
// or waits for its disk.
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

// take handles the outcome of an answer that was applied to its partition.
func (f *replicaFetcher) take(got *ReplicaFetched, err error) {
	p := f.asked[got.At]
	f.env.received(p, len(got.Records))
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
