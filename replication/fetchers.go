package replication

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
)

// replicaFetchers runs the goroutines that fetch from the leaders of this broker's followers: a
// bounded number per leader. A partition follows one leader, at one epoch, through one fetcher.
// Manager.Run owns the goroutines.
type replicaFetchers struct {
	env *fetchEnv
	wg  sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // of Run; nil while it does not run
	byKey map[fetcherKey]*replicaFetcher
	of    map[*Partition]*replicaFetcher
}

// fetchEnv is what the fetchers share with their manager.
type fetchEnv struct {
	o *Followers
	// self returns this broker's registration; its Epoch is 0 before it is registered.
	self     func() metadata.Member
	throttle *throttle        // of followers
	restore  func(*Partition) // makes a partition take its state from the remote tier
	logger   *slog.Logger
	metrics  *metrics
	now      func() time.Time
}

// held returns for how long the replication throttle keeps a partition out of fetches.
func (e *fetchEnv) held(p *Partition, now time.Time) time.Duration {
	if !p.config.Load().FollowerThrottled.has(p.tp.Partition) || slices.Contains(p.role.Load().ISR, e.self()) {
		return 0
	}
	return e.throttle.wait(now)
}

// received charges what a leader has sent of a partition.
func (e *fetchEnv) received(p *Partition, n int) {
	if n > 0 && p.config.Load().FollowerThrottled.has(p.tp.Partition) {
		e.throttle.pass(n, slices.Contains(p.role.Load().ISR, e.self()), e.now())
	}
}

// fetcherKey identifies a fetcher: a leader's registration, and the number of the fetcher for that
// leader.
type fetcherKey struct {
	leader metadata.Member
	slot   int
}

func newReplicaFetchers(env *fetchEnv) *replicaFetchers {
	return &replicaFetchers{env: env, byKey: map[fetcherKey]*replicaFetcher{}, of: map[*Partition]*replicaFetcher{}}
}

// begin allows fetchers to start, until ctx ends. It must be called before the first image is
// applied.
func (f *replicaFetchers) begin(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
}

// end waits for the fetchers, which stop when their ctx ends.
func (f *replicaFetchers) end() {
	f.mu.Lock()
	f.ctx = nil
	f.mu.Unlock()
	f.wg.Wait()
}

// assign moves partitions to the fetchers of their present leaders.
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

// drop removes partitions that are gone from their fetchers.
func (f *replicaFetchers) drop(partitions []*Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range partitions {
		f.leaveLocked(p)
	}
}

// leaveLocked removes a partition from its fetcher, if it has one. The fetcher ends with its last
// partition.
func (f *replicaFetchers) leaveLocked(p *Partition) {
	if old := f.of[p]; old != nil && old.remove(p) {
		delete(f.byKey, old.key)
	}
	delete(f.of, p)
	p.fetcher.Store(nil)
}

// wantedLocked returns the fetcher that a partition belongs to, and starts it if necessary. It
// returns nil if this broker leads the partition, or no live broker does.
//
// It also returns nil if this broker is about to stop and is out of sync, which it is wherever it
// has handed over leadership. It cannot join the ISR before it stops, and cutting its log would
// take the disk's time from the brokers that take over. The next start follows the new leader.
func (f *replicaFetchers) wantedLocked(image *metadata.Image, p *Partition) *replicaFetcher {
	r := p.role.Load()
	leader, live := image.Brokers[r.Leader.Broker]
	if !live || !r.Follows(metadata.Member{Broker: leader.ID, Epoch: leader.Epoch}) || f.ctx == nil {
		return nil
	}
	if image.Brokers[p.brokerID].InControlledShutdown && !r.InSync(p.brokerID) {
		return nil
	}
	key := fetcherKey{leader: metadata.Member{Broker: leader.ID, Epoch: leader.Epoch}, slot: p.slot(f.env.o.FetchersPerLeader)}
	next := f.byKey[key]
	if next == nil {
		next = newReplicaFetcher(f.env, key, f.env.o.Dial(leader))
		f.byKey[key] = next
		ctx := f.ctx // the goroutine may begin after end
		f.wg.Go(func() { next.run(ctx) })
	}
	return next
}

// slot distributes a leader's partitions over its fetchers.
func (p *Partition) slot(n int) int {
	return int((uint32(p.topicID[15])<<8 + uint32(p.topicID[14]) + uint32(p.tp.Partition)) % uint32(n))
}
