package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// sweep removes, rarely, the objects of the partition that nobody names: those
// of uploads that a crash cut short and of leaders that were deposed. An object
// goes only if all of this holds: it is older than a grace, it was written under
// our leader epoch or a lower one, neither the current manifest nor its deletion
// list names it, and the pointer is still ours. No swap of a lower epoch can
// succeed once we have claimed the pointer, and none of our own is under way.
func (p *partition) sweep(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now()
	if p.own.revision == 0 || now.Before(p.own.nextSweep) {
		return false, nil
	}
	ptr, revision, err := p.readPointer(ctx)
	if err != nil {
		return false, err
	}
	if revision != p.own.revision {
		return false, fmt.Errorf("%w: broker %d has leader epoch %d, this is %d", ErrDeposed, ptr.BrokerID, ptr.LeaderEpoch, p.LeaderEpoch)
	}
	m := p.manifest.Load()
	removed := 0
	for info, listErr := range p.m.objects.bucket.List(ctx, p.prefix) {
		if listErr != nil {
			return false, classify("list", p.prefix, listErr)
		}
		name, ours := parseName(strings.TrimPrefix(info.Key, p.prefix))
		if !ours || name.epoch > p.LeaderEpoch || now.Sub(info.ModTime) < p.m.o.SweepGrace {
			continue
		}
		named, nameErr := p.names(ctx, m, name)
		if nameErr != nil {
			return false, fmt.Errorf("sweep: %w", nameErr)
		}
		if named {
			continue
		}
		if err = p.m.objects.remove(ctx, info.Key); err != nil {
			return false, fmt.Errorf("sweep: %w", err)
		}
		p.m.metrics.sweptObjects.Inc()
		removed++
	}
	p.own.nextSweep = now.Add(p.m.o.SweepInterval + p.m.jitter(p.m.o.SweepInterval/8))
	if removed > 0 {
		p.logger().Info("objects that no manifest names are removed", slog.Int("objects", removed))
	}
	return false, nil
}

// names tells whether the manifest, its pages or its deletion list name the
// object. A page or segment is looked for at the offset that its name tells, so
// that nothing of the history has to be held in memory. Segments that are deleted
// but still in a page count as named: deleteDue is who removes them.
func (p *partition) names(ctx context.Context, m *manifest, n objectName) (bool, error) {
	name := n.String()
	if m.deletes(name) || (m.Sequence > 0 && m.name() == name) || (p.own.staged != nil && p.own.staged.Name == name) {
		return true, nil
	}
	if n.kind == kindManifest || m.empty() {
		return false, nil
	}
	s, ref := m.find(n.start)
	for ref != nil {
		// A page above ours starts at the same offset or earlier.
		if ref.Name == name {
			return true, nil
		}
		if n.kind == kindPage && ref.Level <= n.level {
			return false, nil
		}
		pg, err := p.loadPage(ctx, *ref)
		if err != nil {
			return false, err
		}
		s, ref = findSegment(pg.Segments, n.start), findPage(pg.Pages, n.start)
	}
	return s != nil && s.Name == name, nil
}
