package replication

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
)

// replicaFetchers are the goroutines that keep this broker's followers up with their leaders: a
// bounded number for each leader. A partition follows one leader, at one epoch, through one
// fetcher. Manager.Run owns them.
type replicaFetchers struct {
	env *fetchEnv
	wg  sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // of Run; nil while it does not run
	byKey map[fetcherKey]*replicaFetcher
	of    map[*Partition]*replicaFetcher
}

// fetchEnv is what the fetchers share of their manager.
type fetchEnv struct {
	o        *Followers
	self     func() metadata.Member // this broker's registration; its Epoch is 0 before it has one
	throttle *throttle              // of followers
	restore  func(*Partition)       // has a partition take its state from the remote tier
	logger   *slog.Logger
	metrics  *metrics
	now      func() time.Time
}

// held is how long a partition is to be left out of fetches, for the replication throttle.
func (e *fetchEnv) held(p *Partition, now time.Time) time.Duration {
	if !p.config.Load().FollowerThrottled.has(p.tp.Partition) || slices.Contains(p.role.Load().ISR, e.self()) {
		return 0
	}
	return e.throttle.wait(now)
}

// received notes what a leader has sent of a partition.
func (e *fetchEnv) received(p *Partition, n int) {
	if n > 0 && p.config.Load().FollowerThrottled.has(p.tp.Partition) {
		e.throttle.pass(n, slices.Contains(p.role.Load().ISR, e.self()), e.now())
	}
}

// fetcherKey names a fetcher: a leader's registration, and which of its fetchers it is.
type fetcherKey struct {
	leader metadata.Member
	slot   int
}

func newReplicaFetchers(env *fetchEnv) *replicaFetchers {
	return &replicaFetchers{env: env, byKey: map[fetcherKey]*replicaFetcher{}, of: map[*Partition]*replicaFetcher{}}
}

// begin lets fetchers start from now on, until ctx ends. It must come before the first image is
// applied.
func (f *replicaFetchers) begin(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
}

// end waits for the fetchers, which the end of their ctx stops.
func (f *replicaFetchers) end() {
	f.mu.Lock()
	f.ctx = nil
	f.mu.Unlock()
	f.wg.Wait()
}

// assign gives partitions to the fetchers of those who lead them now.
func (f *replicaFetchers) assign(image *metadata.Image, partitions []*Partition) {
	if f.env.o.Dial == nil || len(partitions) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	woken := map[*replicaFetcher]bool{}
	for _, p := range partitions {
		next := f.wantedLocked(image, p)
		if next == f.of[p] {
			continue
		}
		f.leaveLocked(p)
		if next != nil {
			f.of[p] = next
			p.fetcher.Store(next)
			next.add(p)
			woken[next] = true
		}
	}
	for next := range woken {
		next.interrupt()
	}
}

// drop takes partitions that are gone out.
func (f *replicaFetchers) drop(partitions []*Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range partitions {
		f.leaveLocked(p)
	}
}

// leaveLocked takes a partition out of its fetcher, if it has one, which ends with its last.
func (f *replicaFetchers) leaveLocked(p *Partition) {
	if old := f.of[p]; old != nil && old.remove(p) {
		delete(f.byKey, old.key)
	}
	delete(f.of, p)
	p.fetcher.Store(nil)
}

// wantedLocked is the fetcher that a partition belongs to: none if this broker leads it, or nobody
// does.
func (f *replicaFetchers) wantedLocked(image *metadata.Image, p *Partition) *replicaFetcher {
	r := p.role.Load()
	leader, live := image.Brokers[r.Leader.Broker]
	if !live || !r.Follows(metadata.Member{Broker: leader.ID, Epoch: leader.Epoch}) || f.ctx == nil {
		return nil
	}
	key := fetcherKey{leader: metadata.Member{Broker: leader.ID, Epoch: leader.Epoch}, slot: p.slot(f.env.o.FetchersPerLeader)}
	next := f.byKey[key]
	if next == nil {
		next = newReplicaFetcher(f.env, key, f.env.o.Dial(leader))
		f.byKey[key] = next
		f.wg.Go(func() { next.run(f.ctx) })
	}
	return next
}

// slot spreads a leader's partitions over its fetchers.
func (p *Partition) slot(n int) int {
	return int((uint32(p.topicID[15])<<8 + uint32(p.topicID[14]) + uint32(p.tp.Partition)) % uint32(n))
}
