package tiering

import (
	"context"
	"errors"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// A leader keeps the outline of its current manifest, from which it knows that there is nothing to
// do. The entries are in the cache of manifests while the partition is read or written, and
// otherwise only in the bucket: a broker leads tens of thousands of partitions, and few are busy.

// keep makes a manifest, which is stored in an object, the current one.
func (p *partition) keep(m *format.Manifest, object format.Stored) {
	if _, ok := m.Outlined(); !ok && m.Sequence > 0 {
		p.m.manifests.put(p.prefix+object.Name, m)
		m = m.Outline(object)
	}
	p.manifest.Store(m)
}

// whole returns all of a manifest that may be an outline.
func (p *partition) whole(ctx context.Context, by *fetcher, m *format.Manifest) (*format.Manifest, error) {
	object, ok := m.Outlined()
	if !ok {
		return m, nil
	}
	return p.m.manifests.getBy(ctx, by, p.prefix+object.Name, func(ctx context.Context) (*format.Manifest, error) {
		return p.loadManifest(ctx, object)
	})
}

// wholeForWork returns all of the current manifest, for the partition's own work.
func (p *partition) wholeForWork(ctx context.Context) (*format.Manifest, error) {
	return p.whole(ctx, p.m.background, p.manifest.Load())
}

// wholeForReaders returns all of the current manifest, nil if none is loaded yet.
func (p *partition) wholeForReaders(ctx context.Context) (*format.Manifest, error) {
	for {
		current := p.manifest.Load()
		if current == nil {
			return nil, nil
		}
		m, err := p.whole(ctx, p.m.fetcher, current)
		// A manifest that was replaced may be deleted: then the newer one is read.
		if errors.Is(err, objstore.ErrNotFound) && p.manifest.Load() != current {
			continue
		}
		return m, err
	}
}
