package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/varvelog/varve/tiering/ownership"
)

// sweep removes, rarely, the objects of the partition that nothing names: those
// of uploads that a crash cut short and of leaders that were deposed. Package
// ownership says which objects these may be, and when.
func (p *partition) sweep(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now()
	if now.Before(p.chores.nextSweep) {
		return false, nil
	}
	return false, p.do(ctx, ownership.SweepDue{}, func(ctx context.Context, r ownership.Request) error {
		return p.removeOrphans(ctx, r.(ownership.Sweep), now)
	})
}

// removeOrphans does the request of a sweep that began at a time.
func (p *partition) removeOrphans(ctx context.Context, r ownership.Sweep, now time.Time) error {
	removed := 0
	for info, err := range p.m.objects.bucket.List(ctx, p.prefix) {
		if err != nil {
			return classify("list", p.prefix, err)
		}
		name, ours := parseName(strings.TrimPrefix(info.Key, p.prefix))
		if !ours || name.epoch > r.LeaderEpoch || now.Sub(info.ModTime) < p.m.o.SweepGrace {
			continue
		}
		named, nameErr := p.names(ctx, r, name)
		if nameErr != nil {
			return fmt.Errorf("sweep: %w", nameErr)
		}
		if named {
			continue
		}
		if err = p.m.objects.remove(ctx, info.Key); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		p.m.metrics.sweptObjects.Inc()
		removed++
	}
	p.chores.nextSweep = now.Add(p.m.o.SweepInterval + p.m.jitter(p.m.o.SweepInterval/8))
	if removed > 0 {
		p.logger().Info("objects that no manifest names are removed", slog.Int("objects", removed))
	}
	return nil
}

// names returns true if the current manifest, its pages or its deletion list name
// the object, or the sweep has to spare it. A page or segment is looked for at the offset that its name tells, so
// that nothing of the history has to be held in memory. Segments that are deleted
// but still in a page count as named: deleteDue is who removes them.
func (p *partition) names(ctx context.Context, r ownership.Sweep, n objectName) (bool, error) {
	m, name := p.manifest.Load(), n.String()
	if m.deletes(name) || name == manifestName(r.Current) || name == r.Staged {
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
