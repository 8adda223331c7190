package tiering

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// Follow adds a partition that another broker leads: its remote tier can be read, and is not
// changed. It costs nothing until a reader arrives. A partition that is already attached is
// detached first.
func (m *Manager) Follow(ctx context.Context, p Partition) {
	f := m.newPartition(p, storageLog{p.Log})
	f.follower = newFollower()
	f.mu.state = StateFollowing
	m.enter(ctx, f)
}

// follower is what a partition that is only read knows of its manifest.
type follower struct {
	loading chan struct{}            // one token: the goroutine that takes it loads the manifest
	last    atomic.Pointer[followed] // nil: none was loaded
}

func newFollower() *follower {
	f := &follower{loading: make(chan struct{}, 1)}
	f.loading <- struct{}{}
	return f
}

// followed is a manifest, with the time at which the pointer named it.
type followed struct {
	manifest *format.Manifest
	at       time.Time
}

// serves reports whether the manifest, which may be nil, has the offset, and is young enough that
// everything it names still exists.
func (f *followed) serves(offset int64, now time.Time, deleteDelay time.Duration) bool {
	return f != nil && offset < f.manifest.EndOffset && now.Sub(f.at) < deleteDelay/2
}

// inherit takes over what the broker knew of the partition before it led it. While that is young,
// readers use it until the leader's own manifest is loaded.
func (p *partition) inherit(old *partition) {
	if old != nil && old.follower != nil && p.follower == nil && old.TopicID == p.TopicID {
		p.inherited = old.follower.last.Load()
	}
}

// followed returns a manifest that is young enough that everything it names still exists. It loads
// the current one if necessary, or in any case if fresh is set. A manifest that ends before offset
// is loaded again too: the leader may have more by now.
func (p *partition) followed(ctx context.Context, offset int64, fresh bool) (*format.Manifest, error) {
	token, ok := stepped.Receive(ctx, -1, p.follower.loading)
	if !ok {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	defer func() { p.follower.loading <- token }()
	now := p.m.o.Now() // the time before the pointer is read
	if last := p.follower.last.Load(); !fresh && last.serves(offset, now, p.m.o.DeleteDelay) {
		return last.manifest, nil
	}
	if known := p.lastErr(); needsAttention(known) && !p.due(workAttach) {
		return nil, known // readers that retry at once cost no requests
	}
	next, err := p.loadFollowed(ctx, p.manifest.Load())
	_ = p.note(ctx, workAttach, err)
	if err != nil {
		return nil, err
	}
	p.manifest.Store(next)
	p.follower.last.Store(&followed{next, now})
	return next, nil
}

// loadFollowed loads the manifest that the pointer names, unless it is current.
func (p *partition) loadFollowed(ctx context.Context, current *format.Manifest) (*format.Manifest, error) {
	ptr, _, err := p.readPointer(ctx)
	switch {
	case err != nil:
		return nil, err
	case ptr.Manifest == "":
		return p.freshManifest(), nil
	case current != nil && current.Sequence > 0 && current.Name() == ptr.Manifest:
		return current, nil
	}
	return p.loadManifest(ctx, objectOf(ptr))
}

// LatestState returns what the remote tier knows of the partition's log up to its end: from there a
// follower can continue without the records before it. The manifest is loaded again. It returns
// ErrUnavailable if the tier is empty, or this broker leads the partition.
func (m *Manager) LatestState(ctx context.Context, tp metadata.TopicPartition) (storage.RemoteState, error) {
	state, err := m.latestState(ctx, tp)
	if err != nil {
		return storage.RemoteState{}, fmt.Errorf("read the state of %s in the remote tier: %w", tp, err)
	}
	return state, nil
}

func (m *Manager) latestState(ctx context.Context, tp metadata.TopicPartition) (storage.RemoteState, error) {
	p, ok := m.partition(tp)
	if !ok {
		return storage.RemoteState{}, ErrUnknownPartition
	}
	if p.follower == nil {
		return storage.RemoteState{}, fmt.Errorf("%w: this broker leads the partition", ErrUnavailable)
	}
	current, err := p.followed(ctx, 0, true)
	if err != nil {
		return storage.RemoteState{}, err
	}
	if current.Empty() {
		return storage.RemoteState{}, fmt.Errorf("%w: nothing is in the tier", ErrUnavailable)
	}
	r, err := p.lastSegment(ctx, current)
	if err != nil {
		return storage.RemoteState{}, err
	}
	state, err := r.state(ctx)
	if err != nil {
		return storage.RemoteState{}, err
	}
	state.StartOffset = current.LogStart
	return state, nil
}

// lastSegment opens the segment at the end of a tier that is not empty.
func (p *partition) lastSegment(ctx context.Context, m *format.Manifest) (*segmentReader, error) {
	s, err := m.Tree(p.lookAtPage).Find(ctx, m.EndOffset-1)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, s)
}

// state returns the state of the log at the segment's end. It fails without a producer snapshot: a
// log that continued without the producers would accept records twice.
func (r *segmentReader) state(ctx context.Context) (storage.RemoteState, error) {
	if end := r.index.Description.EndOffset; end != r.s.EndOffset {
		return storage.RemoteState{}, fmt.Errorf("%w: %s ends at offset %d, the tier at %d", ErrUnavailable, r.key, end, r.s.EndOffset)
	}
	part, ok := r.index.Part(format.PartSnapshot)
	if !ok {
		return storage.RemoteState{}, fmt.Errorf("%w: %s has no producer snapshot", ErrUnavailable, r.key)
	}
	producers, err := r.p.m.objects.readPart(ctx, r.key, r.s.At, part)
	if err != nil {
		return storage.RemoteState{}, err
	}
	epochs, err := r.leaderEpochs(ctx)
	if err != nil {
		return storage.RemoteState{}, err
	}
	return storage.RemoteState{EndOffset: r.s.EndOffset, Epochs: epochs, Producers: producers}, nil
}

// leaderEpochs returns those of the history up to the segment's end, as the log that was uploaded
// had it. If the object does not have them, they are those of its entry.
func (r *segmentReader) leaderEpochs(ctx context.Context) ([]storage.EpochEntry, error) {
	epochs := r.s.Epochs
	if part, ok := r.index.Part(format.PartEpochs); ok {
		b, err := r.p.m.objects.readPart(ctx, r.key, r.s.At, part)
		if err != nil {
			return nil, err
		}
		if epochs, err = format.ParseEpochs(b); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.key, err)
		}
	}
	var entries []storage.EpochEntry
	for _, e := range epochs {
		if e.StartOffset() < r.s.EndOffset {
			entries = append(entries, storage.EpochEntry{Epoch: e.LeaderEpoch(), StartOffset: e.StartOffset()})
		}
	}
	return entries, nil
}
