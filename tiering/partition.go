package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/ownership"
)

// Partition is what a replica hands over: the leader to Attach, others to Follow.
type Partition struct {
	TopicID        metadata.TopicID
	TopicPartition metadata.TopicPartition
	LeaderEpoch    int32
	Log            *storage.Log
	// Config returns the topic's present settings.
	Config func() storage.Config
	Stats  *Stats // of the topic; may be nil
	// CommittedEnd is given the offset that the partition's committed history in
	// the bucket ends at, each time the worker compares it with the log of a
	// leader. It must not block; may be nil.
	CommittedEnd func(end int64)
}

// partition is an attached partition. The scheduler gives what its owner does, and what
// it deletes, to one worker at a time each. own and chores belong to the former,
// deletions to both. Readers see the manifest.
type partition struct {
	Partition
	m      *Manager
	log    localLog
	prefix string // of the objects
	key    string // of the pointer

	manifest atomic.Pointer[manifest] // the current one; nil until it is loaded
	tried    chan struct{}            // closed by the worker when the first attempt to load is over

	own       ownership.State // see apply; of a follower Following, always
	chores    chores
	owning    *task // attaches, expires, uploads, sweeps; of a follower nil, as the next
	deleting  *task
	deletions deletions

	follower *follower // nil: this broker leads
	// inherited is what this broker knew as a follower before; nil: nothing. It is set
	// before others see the partition.
	inherited *followed

	mu struct {
		sync.Mutex
		state      State
		lastUpload time.Time
		failures   map[work]*failure // kinds of work that failed the last time
		damage     map[chunkKey]Damage
		lag        lag
		lagSince   time.Time // nothing has gone up since then although something waits; zero: nothing waits
	}
}

// lag is what waits to be uploaded.
type lag struct{ segments, bytes int64 }

// chores is what the worker that has the partition knows beside the state of its
// ownership.
type chores struct {
	// unknown is what the pointer that was read last holds besides.
	unknown document.Unknown
	// candidate is the manifest that the state refers to and has not adopted: one
	// that is loaded, or is to be committed.
	candidate candidate
	// staged is the entry of the object that was uploaded last.
	staged *segment
	// oldest is the oldest entry when retention last looked; nil: it has not.
	oldest *segment
	// hinted is the end of the tier that others were told of, or will not be.
	hinted    int64
	nextSweep time.Time
}

// newLeader is a partition that this broker leads.
func (m *Manager) newLeader(config Partition, log localLog) *partition {
	p := m.newPartition(config, log)
	p.owning, p.deleting = &task{p: p, lane: laneAttach}, &task{p: p, lane: laneDelete}
	p.apply(ownership.BecameLeader{Owner: ownership.Owner{
		LeaderEpoch: config.LeaderEpoch, BrokerID: m.o.BrokerID, Claim: newAttempt(),
	}})
	return p
}

func (m *Manager) newPartition(config Partition, log localLog) *partition {
	p := &partition{
		Partition: config,
		m:         m,
		log:       log,
		prefix:    partitionPrefix(m.o.Prefix, config.TopicID, config.TopicPartition.Partition),
		key:       metadata.TierKey(config.TopicID, config.TopicPartition.Partition),
		tried:     make(chan struct{}),
	}
	if p.Stats == nil {
		p.Stats = new(Stats)
	}
	p.mu.state = StateAttaching
	return p
}

// logger is made when there is something to say: most partitions never have.
func (p *partition) logger() *slog.Logger {
	return p.m.o.Logger.With(slog.String("partition", p.TopicPartition.String()))
}

// freshManifest stands for a partition that was never tiered.
func (p *partition) freshManifest() *manifest {
	return &manifest{
		ClusterID: p.m.o.ClusterID, Topic: p.TopicPartition.Topic, TopicID: p.TopicID, Partition: p.TopicPartition.Partition,
	}
}

func (p *partition) loadManifest(ctx context.Context, name string) (*manifest, error) {
	key := p.prefix + name
	m, err := p.readManifest(ctx, name)
	p.looked(chunkKey{key, noChunk}, err)
	return m, err
}

func (p *partition) readManifest(ctx context.Context, name string) (*manifest, error) {
	b, err := p.m.objects.readAll(ctx, "manifest", p.prefix+name)
	if err != nil {
		return nil, fmt.Errorf("load manifest: %w", err)
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("load manifest %s: %w", p.prefix+name, err)
	}
	if m.name() != name || m.TopicID != p.TopicID || m.Partition != p.TopicPartition.Partition {
		return nil, fmt.Errorf("%w: load manifest %s: it is that of %s-%d, %s", ErrCorrupt, p.prefix+name, m.Topic, m.Partition, m.name())
	}
	return m, nil
}

func (p *partition) readPointer(ctx context.Context) (pointer, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	return readPointer(ctx, p.m.store, p.key)
}

func (p *partition) swap(ctx context.Context, r ownership.SwapPointer) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	return swapPointer(ctx, p.m.store, p.key, r.On, newPointer(r.Pointer, p.chores.unknown))
}

// nextManifest is an editable successor of the current manifest. The commit gives
// it its sequence.
func (p *partition) nextManifest() *manifest {
	now := p.m.o.Now()
	return p.manifest.Load().next(p.LeaderEpoch, p.m.o.BrokerID, now.UnixMilli(), p.deleteAfter(now), p.deletions.done())
}

func (p *partition) deleteAfter(now time.Time) int64 { return now.Add(p.m.o.DeleteDelay).UnixMilli() }

// tellLog brings the local log up to what is committed. It is safe to repeat,
// and is, because a crash may come between a commit and it.
func (p *partition) tellLog() error {
	m := p.manifest.Load()
	if m.Sequence == 0 {
		return nil
	}
	if p.CommittedEnd != nil {
		p.CommittedEnd(m.EndOffset)
	}
	if end := p.log.EndOffset(); end < m.EndOffset {
		return fmt.Errorf("%w: it ends at offset %d, the tier at %d", ErrGap, end, m.EndOffset)
	}
	p.log.SetRemoteEndOffset(m.EndOffset)
	if m.EndOffset != p.chores.hinted {
		p.chores.hinted = m.EndOffset
		if p.m.o.Tiered != nil {
			p.m.o.Tiered(p.TopicID, p.TopicPartition.Partition, m.EndOffset)
		}
	}
	if m.StartOffset > p.log.StartOffset() {
		if err := p.log.AdvanceStartOffset(m.StartOffset); err != nil {
			return fmt.Errorf("advance the log start to %d: %w", m.StartOffset, err)
		}
	}
	return nil
}

// attach makes this broker the owner of the manifest: it loads the current one
// and claims the pointer. A pointer that does not exist yet is claimed with the
// first upload: thousands of new partitions cost the metadata store nothing.
func (p *partition) attach(ctx context.Context) error {
	_, err := p.try(ctx, workAttach, func(ctx context.Context) (bool, error) {
		if err := p.drive(ctx, nil, nil); err != nil {
			return false, err
		}
		p.chores.nextSweep = p.m.o.Now().Add(p.m.o.SweepGrace + p.m.jitter(p.m.o.SweepGrace))
		p.chores.hinted = p.manifest.Load().EndOffset // by the leader that committed it
		return false, nil
	})
	return err
}

// triedOnce lets readers stop waiting for the first attempt to load the manifest.
func (p *partition) triedOnce() {
	select {
	case <-p.tried:
	default:
		close(p.tried)
	}
}

// step does one unit of each kind of the owner's work that is due. It returns true if
// more of what does not fail is waiting. What fails does not keep the rest from being
// done, in this step or in the next.
func (p *partition) step(ctx context.Context) (more bool, err error) {
	if _, err = p.try(ctx, workAttach, p.settle); p.failing(workAttach) || ctx.Err() != nil {
		return false, err
	}
	var errs []error
	for _, c := range []struct {
		work work
		unit func(context.Context) (bool, error)
	}{{workExpire, p.expire}, {workUpload, p.upload}, {workSweep, p.sweep}} {
		again, workErr := p.try(ctx, c.work, c.unit)
		more = more || again
		errs = append(errs, workErr)
		if !p.owns() || ctx.Err() != nil {
			return false, errors.Join(errs...)
		}
	}
	return more, errors.Join(errs...)
}

// settle finds out what became of a swap that was not confirmed, and tells the log what
// is committed. Without it nothing else of the owner's work is done.
func (p *partition) settle(ctx context.Context) (bool, error) {
	if err := p.drive(ctx, errUnconfirmed, nil); err != nil && !errors.Is(err, errLost) {
		return false, err
	}
	return false, p.tellLog()
}

// loadPage is the pageLoader of readers.
func (p *partition) loadPage(ctx context.Context, ref pageRef) (*page, error) {
	return p.pageBy(ctx, p.m.fetcher, ref)
}

// lookAtPage is the pageLoader of the partition's own work, which no reader waits for.
func (p *partition) lookAtPage(ctx context.Context, ref pageRef) (*page, error) {
	return p.pageBy(ctx, p.m.background, ref)
}

func (p *partition) pageBy(ctx context.Context, f *fetcher, ref pageRef) (*page, error) {
	key := p.prefix + ref.Name
	return p.m.pages.getBy(ctx, f, key, func(ctx context.Context) (*page, error) {
		pg, err := p.readPage(ctx, key, ref)
		p.looked(chunkKey{key, noChunk}, err)
		return pg, err
	})
}

func (p *partition) readPage(ctx context.Context, key string, ref pageRef) (*page, error) {
	b, err := p.m.objects.readAll(ctx, "page", key)
	if err != nil {
		return nil, err
	}
	pg, err := parsePage(b, ref)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return pg, nil
}
