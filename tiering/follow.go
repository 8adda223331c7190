package tiering

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// Follow takes the partition in as one that another broker leads: its remote
// tier can be read, and nothing of it is changed. It costs nothing until
// somebody reads. A partition that is attached already is detached first.
func (m *Manager) Follow(p Partition) {
	f := m.newPartition(p, storageLog{p.Log})
	f.follower = &follower{loading: make(chan struct{}, 1)}
	f.mu.state = StateFollowing
	m.enter(f)
}

// follower is what a partition that is only read knows of its manifest.
type follower struct {
	loading chan struct{} // a token: who has it loads the manifest, and owns what is below
	loaded  time.Time     // when the pointer named the partition's manifest
}

// followed returns a manifest that is young enough for all that it names to be
// there still, loading the current one if need be; with fresh set, in any case.
// One that ends before offset is loaded again too: the leader has more by now.
func (p *partition) followed(ctx context.Context, offset int64, fresh bool) (*manifest, error) {
	select {
	case p.follower.loading <- struct{}{}:
		defer func() { <-p.follower.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	current := p.manifest.Load()
	now := p.m.o.Now()
	if current != nil && !fresh && offset < current.EndOffset && now.Sub(p.follower.loaded) < p.m.o.DeleteDelay/2 {
		return current, nil
	}
	next, err := p.loadFollowed(ctx, current)
	p.mu.Lock()
	p.mu.lastErr = err
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	p.manifest.Store(next)
	p.follower.loaded = now // of before the pointer was read
	return next, nil
}

// loadFollowed loads the manifest that the pointer names, unless it is current.
func (p *partition) loadFollowed(ctx context.Context, current *manifest) (*manifest, error) {
	ptr, _, err := p.readPointer(ctx)
	switch {
	case err != nil:
		return nil, err
	case ptr.Manifest == "":
		return p.freshManifest(), nil
	case current != nil && current.Sequence > 0 && current.name() == ptr.Manifest:
		return current, nil
	}
	return p.loadManifest(ctx, ptr.Manifest)
}

// LatestState is what the remote tier knows of the partition's log up to its
// end: from there a follower can go on without the records before it. It is
// read anew, and is ErrUnavailable when nothing is in the tier.
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
	if len(current.Recent) == 0 {
		return storage.RemoteState{}, fmt.Errorf("%w: nothing is in the tier", ErrUnavailable)
	}
	last := current.Recent[len(current.Recent)-1]
	r, err := p.open(ctx, last)
	if err != nil {
		return storage.RemoteState{}, err
	}
	if r.tail.endOffset != last.EndOffset {
		return storage.RemoteState{}, fmt.Errorf("%w: %s ends at offset %d, the manifest says %d", ErrCorrupt, r.key, r.tail.endOffset, last.EndOffset)
	}
	return storage.RemoteState{
		StartOffset: current.StartOffset, EndOffset: last.EndOffset, Epochs: r.tail.epochs, Producers: r.tail.snapshot,
	}, nil
}
