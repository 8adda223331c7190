package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// Partition is what a replica hands over: the leader to Attach, the others to Follow.
type Partition struct {
	TopicID        metadata.TopicID
	TopicPartition metadata.TopicPartition
	LeaderEpoch    int32
	// LossyEpoch is the leader epoch of the newest election that may have lost records, 0 if
	// there was none. Suspect is then the log's leader. It is nil if the log is known to
	// have all records.
	LossyEpoch int32
	Suspect    Suspect
	Log        *storage.Log
	// Config returns the topic's current settings.
	Config func() storage.Config
	Stats  *Stats // of the topic; may be nil
	// CommittedEnd is called with the end offset of the partition's committed history in the
	// bucket, each time the worker compares it with a leader's log. It must not block. May be nil.
	CommittedEnd func(end int64)
}

// partition is an attached partition. The scheduler gives the owner's work to one worker at a
// time, and the deletions to one. Only the former uses own and chores; both use deletions. Readers
// see the manifest.
type partition struct {
	Partition
	m      *Manager
	log    localLog
	prefix string // of the objects
	key    string // of the pointer

	// manifest is the current one, for a leader its outline (whole.go); nil until it is loaded.
	manifest atomic.Pointer[format.Manifest]

	own       ownership.State // see apply; always Following for a follower
	chores    chores
	owning    *task // attaches, expires, uploads, sweeps; nil for a follower, like deleting
	deleting  *task
	deletions deletions

	follower *follower // nil: this broker leads
	// inherited is what this broker knew before as a follower; nil: nothing. It is set before the
	// partition is visible to others.
	inherited *followed

	mu struct {
		sync.Mutex
		state State
		// trying is closed after the first attempt to load the manifest; nil: that is over.
		trying     chan struct{}
		lastUpload int64             // unix ms; 0: none in this attachment
		failures   map[work]*failure // kinds of work whose last attempt failed
		damage     map[chunkKey]Damage
		lag        lag
		// lagSince is since when segments have waited and none was uploaded; zero: none waits.
		lagSince time.Time
	}
}

// lag is the closed segments that wait for upload: their number, and their bytes in the log.
type lag struct{ segments, bytes int64 }

// chores is what the partition's worker knows beside the state of its ownership.
type chores struct {
	// pointer is the one that was last read or written. It carries the members that this build does
	// not know into the next write.
	pointer *format.Pointer
	// readOnly is why this build must not write what was last read; nil: it may.
	readOnly error
	// candidate is the manifest that the state refers to and has not adopted: it was loaded, or its
	// commit is under way.
	candidate candidate
	// current is the object of the adopted manifest.
	current format.Stored
	// staged are the entries of objects that are uploaded and that no manifest names yet. The state
	// has their names.
	staged []format.Segment
	// hinted is the tier's end for which Options.Tiered was called, or need not be called.
	hinted    int64
	nextSweep time.Time
	// continues says that the log continues the tier, or was made to. Until then every step
	// compares them.
	continues bool
}

// newLeader returns a partition that this broker leads.
func (m *Manager) newLeader(ctx context.Context, config Partition, log localLog) *partition {
	p := m.newPartition(config, log)
	p.owning, p.deleting = &task{p: p, lane: laneAttach}, &task{p: p, lane: laneDelete}
	p.becomeLeader(ctx)
	return p
}

// becomeLeader begins an attachment, with a new claim.
func (p *partition) becomeLeader(ctx context.Context) {
	p.apply(ownership.BecameLeader{
		Owner:   ownership.Owner{LeaderEpoch: p.LeaderEpoch, BrokerID: p.m.o.BrokerID, Claim: newAttempt(ctx)},
		Suspect: p.Suspect != nil && p.Config().RemoteStorageEnable,
	})
}

func (m *Manager) newPartition(config Partition, log localLog) *partition {
	p := &partition{
		Partition: config,
		m:         m,
		log:       log,
		prefix:    format.PartitionPrefix(m.o.Prefix, config.TopicID, config.TopicPartition.Partition),
		key:       metadata.TierKey(config.TopicID, config.TopicPartition.Partition),
	}
	if p.Stats == nil {
		p.Stats = new(Stats)
	}
	p.mu.state = StateAttaching
	p.mu.trying = make(chan struct{})
	return p
}

// logger builds the logger when there is something to log: most partitions never log.
func (p *partition) logger() *slog.Logger {
	return p.m.o.Logger.With(slog.String("partition", p.TopicPartition.String()))
}

// freshManifest returns the manifest of a partition that was never tiered.
func (p *partition) freshManifest() *format.Manifest {
	return &format.Manifest{
		ClusterID: p.m.o.ClusterID, Topic: p.TopicPartition.Topic, TopicID: p.TopicID, Partition: p.TopicPartition.Partition, LastEpoch: -1,
	}
}

// objectOf returns the manifest object that a pointer names.
func objectOf(ptr *format.Pointer) format.Stored {
	return format.Stored{Name: ptr.Manifest, Size: ptr.Size, CRC32C: ptr.CRC32C}
}

// loadManifest loads a whole manifest.
func (p *partition) loadManifest(ctx context.Context, object format.Stored) (*format.Manifest, error) {
	return p.readManifest(ctx, object, format.ParseManifest)
}

// loadOutline loads the outline of a manifest. Entries that are wrong although the checksum matches
// are noticed only when they are needed.
func (p *partition) loadOutline(ctx context.Context, object format.Stored) (*format.Manifest, error) {
	return p.readManifest(ctx, object, func(b []byte) (*format.Manifest, error) { return format.ParseOutline(b, object) })
}

func (p *partition) readManifest(ctx context.Context, object format.Stored, parse manifestParser) (*format.Manifest, error) {
	m, err := p.parseManifest(ctx, object, parse)
	p.looked(chunkKey{p.prefix + object.Name, noChunk}, err)
	return m, err
}

// manifestParser is one of the two ways to decode a manifest's object.
type manifestParser func(content []byte) (*format.Manifest, error)

func (p *partition) parseManifest(ctx context.Context, object format.Stored, parse manifestParser) (*format.Manifest, error) {
	key := p.prefix + object.Name
	room := min(max(object.Size, 0), manifestMemory)
	if err := p.m.loads.Acquire(ctx, room); err != nil {
		return nil, fmt.Errorf("%w: load manifest: wait for memory: %w", ErrUnavailable, err)
	}
	defer p.m.loads.Release(room)
	b, err := p.m.objects.readDocument(ctx, "manifest", key, object.Size)
	if err != nil {
		return nil, fmt.Errorf("load manifest: %w", err)
	}
	if sum := format.Checksum(b); sum != object.CRC32C {
		return nil, fmt.Errorf("%w: load manifest %s: it has checksum %08x, the pointer says %08x", ErrCorrupt, key, sum, object.CRC32C)
	}
	m, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("load manifest %s: %w", key, err)
	}
	if m.Name() != object.Name || m.TopicID != p.TopicID || m.Partition != p.TopicPartition.Partition {
		return nil, fmt.Errorf("%w: load manifest %s: it is that of %s-%d, %s", ErrCorrupt, key, m.Topic, m.Partition, m.Name())
	}
	return m, nil
}

func (p *partition) readPointer(ctx context.Context) (*format.Pointer, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	return readPointer(ctx, p.m.store, p.key)
}

// swap writes the pointer. It keeps the manifest that the pointer names, or names the
// candidate. Before the partition's first pointer it looks for objects: they would mean that a
// pointer was lost.
func (p *partition) swap(ctx context.Context, r ownership.SwapPointer) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	if r.On == 0 {
		if err := p.lookForObjects(ctx); err != nil {
			return 0, err
		}
	}
	next := *p.chores.pointer
	next.LeaderEpoch, next.BrokerID, next.Claim, next.Fence = r.Pointer.LeaderEpoch, r.Pointer.BrokerID, r.Pointer.Claim, r.Pointer.Fence
	if manifestName(r.Pointer.Manifest) != next.Manifest {
		next.SetManifest(p.chores.candidate.manifest, p.chores.candidate.stored)
		next.CommittedMs = p.m.o.Now().UnixMilli()
	}
	revision, err := swapPointer(ctx, p.m.store, p.key, r.On, &next)
	if err == nil {
		p.chores.pointer = &next
		p.compareFacts(&next)
	}
	return revision, err
}

// nextManifest returns an editable successor of the current manifest. The commit gives it its name.
func (p *partition) nextManifest(ctx context.Context) (*format.Manifest, format.Edit, error) {
	current, err := p.wholeForWork(ctx)
	if err != nil {
		return nil, format.Edit{}, err
	}
	now := p.m.o.Now()
	gone, emptied := p.deletions.done()
	e := format.Edit{
		BrokerID: p.m.o.BrokerID, LeaderEpoch: p.LeaderEpoch, NowMs: now.UnixMilli(), DeleteMs: now.Add(p.m.o.DeleteDelay).UnixMilli(),
		LogStart: p.log.StartOffset(), Current: p.chores.current, Gone: gone, Emptied: emptied,
	}
	return current.Next(e), e, nil
}

// tellLog informs the local log of what is committed. It is repeated in every step, because a crash
// may come between a commit and this call.
func (p *partition) tellLog() error {
	m := p.manifest.Load()
	if m.Sequence == 0 {
		return nil
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
	if m.LogStart > p.log.StartOffset() {
		if err := p.log.AdvanceStartOffset(m.LogStart); err != nil {
			return fmt.Errorf("advance the log start to %d: %w", m.LogStart, err)
		}
	}
	return nil
}

// attach makes this broker the owner of the manifest: it loads the current one and claims the
// pointer. A pointer that does not exist yet is created only before the first upload: thousands of
// new partitions cost the metadata store nothing.
func (p *partition) attach(ctx context.Context) error {
	_, err := p.try(ctx, workAttach, func(ctx context.Context) (bool, error) {
		if err := p.drive(ctx, nil, nil); err != nil {
			return false, err
		}
		p.chores.nextSweep = p.m.o.Now().Add(p.m.o.SweepGrace + jitter(ctx, p.m.o.SweepGrace))
		p.chores.hinted = p.manifest.Load().EndOffset // its own leader has sent that hint
		return false, p.compare(ctx)
	})
	return err
}

// triedOnce releases readers that wait for the first attempt to load the manifest.
func (p *partition) triedOnce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.trying != nil {
		close(p.mu.trying)
		p.mu.trying = nil
	}
}

// tried returns a channel that is closed after the first attempt to load the manifest, nil
// if that is over.
func (p *partition) tried() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.trying
}

// step does one unit of each kind of the owner's work that is due. more is true if more of the work
// that does not fail is waiting. A failure does not keep the other kinds from being done, in this
// step or the next.
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

// settle finds out whether an unconfirmed swap happened, and informs the log of what is committed.
// No other work of the owner is done before it succeeds.
func (p *partition) settle(ctx context.Context) (bool, error) {
	p.apply(ownership.RefreshDue{}) // concerns a tier that is only read
	err := p.drive(ctx, errUnconfirmed, nil)
	switch {
	case errors.Is(err, ErrReadOnly):
		p.pending() // so that the lag shows what waits
		if compareErr := p.compare(ctx); compareErr != nil {
			return false, errors.Join(err, compareErr)
		}
		return false, errors.Join(err, p.tellLog())
	case err != nil && !errors.Is(err, errLost):
		return false, err
	}
	if err = p.compare(ctx); err != nil {
		return false, err
	}
	return false, p.tellLog()
}

// loadPage loads pages for readers.
func (p *partition) loadPage(ctx context.Context, ref *format.PageRef) (*format.Page, error) {
	return p.pageBy(ctx, p.m.fetcher, ref)
}

// lookAtPage loads pages for the partition's own work, which no reader waits for.
func (p *partition) lookAtPage(ctx context.Context, ref *format.PageRef) (*format.Page, error) {
	return p.pageBy(ctx, p.m.background, ref)
}

// lookAtWritable is lookAtPage for pages whose entries may become trash.
func (p *partition) lookAtWritable(ctx context.Context, ref *format.PageRef) (*format.Page, error) {
	pg, err := p.lookAtPage(ctx, ref)
	if err != nil {
		return nil, err
	}
	return pg, pg.Writable()
}

func (p *partition) pageBy(ctx context.Context, f *fetcher, ref *format.PageRef) (*format.Page, error) {
	key := p.prefix + ref.Name
	return p.m.pages.getBy(ctx, f, key, func(ctx context.Context) (*format.Page, error) {
		pg, err := p.m.objects.readPage(ctx, key, ref)
		p.looked(chunkKey{key, noChunk}, err)
		return pg, err
	})
}

// beyond reports whether an error says that this build does not know a document, or an entry, well
// enough. Expiry and sweeps end there, without an error.
func beyond(err error) bool {
	return errors.Is(err, ErrUnsupportedFormat) || errors.Is(err, ErrReadOnly)
}
