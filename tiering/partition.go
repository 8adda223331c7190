package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/storage"
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

// partition is an attached partition. The scheduler gives it to one worker at a
// time; what is in own belongs to that worker. Readers see the manifest.
type partition struct {
	Partition
	m      *Manager
	log    localLog
	prefix string // of the objects
	key    string // of the pointer
	claim  string

	manifest atomic.Pointer[manifest] // the current one; nil until it is loaded
	tried    chan struct{}            // closed by the worker when the first attempt to load is over

	own      ownership
	sched    schedule
	follower *follower // nil: this broker leads

	mu struct {
		sync.Mutex
		state      State
		lastUpload time.Time
		lastErr    error
		lag        lag
		lagSince   time.Time // nothing has gone up since then although something waits; zero: nothing waits
	}
}

// lag is what waits to be uploaded.
type lag struct{ segments, bytes int64 }

// ownership is what the worker that has the partition knows of its own doing.
type ownership struct {
	revision int64 // of the pointer; 0: it does not exist
	// unknown is what the pointer of that revision holds besides.
	unknown  document.Unknown
	sequence int64 // highest of a manifest that was tried
	// pending is a manifest whose swap may or may not have happened.
	pending *manifest
	fence   int64
	// staged is a verified segment object that no manifest names yet.
	staged *segment
	// gone are objects of the deletion list that are deleted already.
	gone      map[string]bool
	deposed   bool // for good: only another attachment can claim again
	backoff   backoff.Backoff
	nextSweep time.Time
}

func (m *Manager) newPartition(config Partition, log localLog) *partition {
	p := &partition{
		Partition: config,
		m:         m,
		log:       log,
		prefix:    partitionPrefix(m.o.Prefix, config.TopicID, config.TopicPartition.Partition),
		key:       metadata.TierKey(config.TopicID, config.TopicPartition.Partition),
		claim:     newAttempt(),
		tried:     make(chan struct{}),
	}
	if p.Stats == nil {
		p.Stats = new(Stats)
	}
	p.own.gone = map[string]bool{}
	p.own.backoff = backoff.Backoff{Min: m.o.RetryBackoff, Max: m.o.RetryBackoffMax}
	p.mu.state = StateAttaching
	return p
}

// logger is made when there is something to say: most partitions never have.
func (p *partition) logger() *slog.Logger {
	return p.m.o.Logger.With(slog.String("partition", p.TopicPartition.String()))
}

// attach loads the current manifest and claims the pointer for this leader. A
// pointer that does not exist yet is claimed with the first upload: thousands of
// new partitions cost the metadata store nothing.
func (p *partition) attach(ctx context.Context) error {
	if p.own.deposed {
		return ErrDeposed
	}
	ptr, revision, err := p.readPointer(ctx)
	if err != nil {
		return err
	}
	if ptr.LeaderEpoch > p.LeaderEpoch || ptr.DeletedMs != 0 {
		return fmt.Errorf("%w: broker %d has leader epoch %d, this is %d", ErrDeposed, ptr.BrokerID, ptr.LeaderEpoch, p.LeaderEpoch)
	}
	p.own.unknown = ptr.unknown
	current := p.freshManifest()
	if ptr.Manifest != "" {
		// Before the claim, so that a store that is down does not have it written
		// again and again. If the manifest is replaced meanwhile the claim fails.
		if current, err = p.loadManifest(ctx, ptr.Manifest); err != nil {
			return err
		}
	}
	if revision != 0 && ptr.Claim != p.claim {
		revision, err = p.swap(ctx, revision, p.pointer(ptr.Manifest))
		if err != nil {
			// Ambiguous or lost: either way the next attempt sees who won, and
			// knows its own claim.
			return fmt.Errorf("claim: %w", err)
		}
	}
	p.own.pending = nil
	p.adopt(current, revision)
	p.own.nextSweep = p.m.o.Now().Add(p.m.o.SweepGrace + p.m.jitter(p.m.o.SweepGrace))
	return nil
}

// freshManifest stands for a partition that was never tiered.
func (p *partition) freshManifest() *manifest {
	return &manifest{
		ClusterID: p.m.o.ClusterID, Topic: p.TopicPartition.Topic, TopicID: p.TopicID, Partition: p.TopicPartition.Partition,
	}
}

func (p *partition) loadManifest(ctx context.Context, name string) (*manifest, error) {
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

func (p *partition) swap(ctx context.Context, revision int64, ptr pointer) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	return swapPointer(ctx, p.m.store, p.key, revision, ptr)
}

func (p *partition) pointer(manifestName string) pointer {
	return pointer{
		Manifest: manifestName, LeaderEpoch: p.LeaderEpoch, BrokerID: p.m.o.BrokerID, Claim: p.claim, Fence: p.own.fence,
		unknown: p.own.unknown,
	}
}

// nextManifest is an editable successor of the current manifest.
func (p *partition) nextManifest() *manifest {
	now := p.m.o.Now()
	n := p.manifest.Load().next(p.LeaderEpoch, p.m.o.BrokerID, now.UnixMilli(), p.deleteAfter(now), p.own.gone)
	n.Sequence = max(n.Sequence, p.own.sequence+1)
	return n
}

func (p *partition) deleteAfter(now time.Time) int64 { return now.Add(p.m.o.DeleteDelay).UnixMilli() }

// commit makes next the current manifest: pages and manifest are written and
// read back, then the pointer is swapped. When it returns nil that has happened.
// After an error the manifest is the old one or next, which settle finds out
// before anything else is done.
func (p *partition) commit(ctx context.Context, next *manifest) error {
	for _, s := range next.seal(p.m.shape, newAttempt()) {
		b, err := s.page.encode()
		if err != nil {
			return err
		}
		if err = p.m.objects.create(ctx, p.prefix+s.name, b); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
	}
	if err := p.writeManifest(ctx, next); err != nil {
		return err
	}
	revision, err := p.swap(ctx, p.own.revision, p.pointer(next.name()))
	if err != nil {
		p.own.pending = next
		return p.settle(ctx, err)
	}
	p.adopt(next, revision)
	return nil
}

// writeManifest writes the manifest under the first sequence that is free: an
// attempt that was thought to have failed may have taken one.
func (p *partition) writeManifest(ctx context.Context, m *manifest) error {
	for range 8 {
		p.own.sequence = m.Sequence
		b, err := m.encode()
		if err != nil {
			return err
		}
		err = p.m.objects.create(ctx, p.prefix+m.name(), b)
		if !errors.Is(err, objstore.ErrExists) {
			if err != nil {
				err = fmt.Errorf("write manifest: %w", err)
			}
			return err
		}
		m.Sequence++
	}
	return fmt.Errorf("%w: write manifest: sequences up to %d are taken", ErrUnavailable, m.Sequence-1)
}

// currentName is what the pointer holds as long as nobody swaps it.
func (p *partition) currentName() string {
	if m := p.manifest.Load(); m.Sequence > 0 {
		return m.name()
	}
	return ""
}

// settle finds out what became of a swap that was not confirmed, and makes sure
// that it does not happen later: a write that timed out may still be under way.
// It returns nil if the pending manifest is the current one now, and errLost
// if it never will be.
func (p *partition) settle(ctx context.Context, cause error) error {
	for p.own.pending != nil {
		ptr, revision, err := p.readPointer(ctx)
		switch {
		case err != nil:
			return errors.Join(cause, err)
		case revision == 0 && p.own.revision != 0:
			return fmt.Errorf("%w: the topic was deleted", ErrDeposed)
		case revision != 0 && ptr.Claim != p.claim:
			// An owner that has not written the pointer yet has not claimed it: it does as
			// in attach, where one of its own leader epoch is that of an attachment before.
			if ptr.DeletedMs == 0 && (ptr.LeaderEpoch < p.LeaderEpoch || ptr.LeaderEpoch == p.LeaderEpoch && p.own.revision == 0) {
				p.own.pending = nil
				return fmt.Errorf("%w: broker %d wrote it with leader epoch %d", errReclaim, ptr.BrokerID, ptr.LeaderEpoch)
			}
			return fmt.Errorf("%w: broker %d has leader epoch %d, this is %d", ErrDeposed, ptr.BrokerID, ptr.LeaderEpoch, p.LeaderEpoch)
		case revision != 0 && ptr.Manifest == p.own.pending.name():
			next := p.own.pending
			p.own.pending = nil
			p.adopt(next, revision)
			return nil
		case revision != 0 && ptr.Manifest != p.currentName():
			p.own.pending = nil
			return fmt.Errorf("%w: it names %s", errReclaim, ptr.Manifest)
		}
		// Not yet: write the pointer as it is, on the revision that the swap
		// would need.
		p.own.fence++
		p.own.unknown = ptr.unknown
		fenced, err := p.swap(ctx, revision, p.pointer(ptr.Manifest))
		if err == nil {
			p.own.pending = nil
			p.own.revision = fenced
			return fmt.Errorf("%w: %w", errLost, cause)
		}
		if !errors.Is(err, kv.ErrConflict) {
			return errors.Join(cause, err)
		}
	}
	return nil
}

// adopt makes a committed manifest the one that readers see, and only then lets
// the local log know.
func (p *partition) adopt(m *manifest, revision int64) {
	p.own.revision = revision
	p.own.sequence = max(p.own.sequence, m.Sequence)
	p.manifest.Store(m)
	for name := range p.own.gone {
		if !m.deletes(name) {
			delete(p.own.gone, name)
		}
	}
}

// deletes tells whether the name is on the deletion list.
func (m *manifest) deletes(name string) bool {
	for _, d := range m.Deletions {
		if d.Name == name {
			return true
		}
	}
	return false
}

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
	if p.m.o.Tiered != nil {
		p.m.o.Tiered(p.TopicID, p.TopicPartition.Partition, m.EndOffset)
	}
	if m.StartOffset > p.log.StartOffset() {
		if err := p.log.AdvanceStartOffset(m.StartOffset); err != nil {
			return fmt.Errorf("advance the log start to %d: %w", m.StartOffset, err)
		}
	}
	return nil
}

// step does one unit of each kind of work that there is, and tells whether more
// is waiting. What fails does not keep the rest from being done.
func (p *partition) step(ctx context.Context) (more bool, err error) {
	if p.own.deposed {
		return false, ErrDeposed
	}
	if p.own.pending != nil {
		if err = p.settle(ctx, errors.New("an earlier swap was not confirmed")); err != nil && !errors.Is(err, errLost) {
			return false, err
		}
	}
	if err = p.tellLog(); err != nil {
		return false, err
	}
	var errs []error
	for _, work := range []func(context.Context) (bool, error){p.expire, p.deleteDue, p.upload, p.sweep} {
		again, workErr := work(ctx)
		more = more || again
		if workErr != nil {
			errs = append(errs, workErr)
		}
		if p.own.pending != nil || errors.Is(workErr, ErrDeposed) || errors.Is(workErr, errReclaim) {
			break
		}
	}
	return more && len(errs) == 0, errors.Join(errs...)
}

// loadPage is the partition's pageLoader.
func (p *partition) loadPage(ctx context.Context, ref pageRef) (*page, error) {
	key := p.prefix + ref.Name
	return p.m.pages.get(ctx, key, func(ctx context.Context) (*page, error) {
		b, err := p.m.objects.readAll(ctx, "page", key)
		if err != nil {
			return nil, err
		}
		pg, err := parsePage(b, ref)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		return pg, nil
	})
}
