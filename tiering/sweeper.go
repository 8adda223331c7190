package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
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
	listed, err := p.listTrash(ctx)
	if beyond(err) { // what is trash is not known: nothing is taken for an orphan
		p.sweepLater(now)
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	removed := 0
	for info, listErr := range p.m.objects.bucket.List(ctx, p.prefix) {
		if listErr != nil {
			return classify("list", p.prefix, listErr)
		}
		name, ours := format.ParseName(strings.TrimPrefix(info.Key, p.prefix))
		if !ours || name.LeaderEpoch > r.LeaderEpoch || now.Sub(info.ModTime) < p.m.o.SweepGrace {
			continue
		}
		named, nameErr := p.names(ctx, r, listed, name)
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
	p.sweepLater(now)
	if removed > 0 {
		p.logger().Info("objects that no manifest names are removed", slog.Int("objects", removed))
	}
	return nil
}

func (p *partition) sweepLater(now time.Time) {
	p.chores.nextSweep = now.Add(p.m.o.SweepInterval + p.m.jitter(p.m.o.SweepInterval/8))
}

// names returns true if the current manifest, its pages or its trash name the object, or the sweep
// has to spare it. A page or segment is looked for at the offset that its name tells, so that
// nothing of the history has to be held in memory.
func (p *partition) names(ctx context.Context, r ownership.Sweep, listed *listedTrash, n format.Name) (bool, error) {
	m, name := p.manifest.Load(), n.String()
	if listed.has(n) || name == manifestName(r.Current) || name == r.Staged {
		return true, nil
	}
	if n.Kind != format.KindSegment && n.Kind != format.KindPage {
		return false, nil
	}
	for node, err := range m.Tree(p.loadWritable).Path(ctx, format.UpTo(n.StartOffset)) {
		switch {
		case beyond(err): // it may name whatever there is
			return true, nil
		case err != nil:
			return false, err
		case node.Segment != nil:
			s := node.Segment
			return s.Name == name || n.StartOffset < s.EndOffset && s.Supported() != nil, nil
		case node.Page.Name == name || node.Page.Supported() != nil:
			return true, nil
		case node.Page.EndOffset <= m.StartOffset: // it is deleted, or trash, and so is all below it
			return false, nil
		case n.Kind == format.KindPage && node.Page.Level <= n.Level: // one above it would start there or earlier
			return false, nil
		}
	}
	return false, nil
}

// maxListedTrash bounds how much trash a sweep holds in memory. Where there is more, nothing can be
// deleted anyhow.
const maxListedTrash = 1 << 17

// listedTrash is what the manifest and its trash pages list.
type listedTrash struct {
	names map[string]bool
	pages []format.Trash // of the tree: what they name is trash too
}

// has returns true if the object is trash: who deletes it is deleteDue.
func (l *listedTrash) has(n format.Name) bool {
	if l.names[n.String()] {
		return true
	}
	if n.Kind != format.KindSegment && n.Kind != format.KindPage {
		return false
	}
	for i := range l.pages {
		if t := &l.pages[i]; n.StartOffset >= t.StartOffset && n.StartOffset < t.EndOffset {
			return true
		}
	}
	return false
}

// add adds trash, but for what is gone.
func (l *listedTrash) add(trash []format.Trash, gone map[string]bool) {
	for i := range trash {
		if gone[trash[i].Name] {
			continue
		}
		l.names[trash[i].Name] = true
		if trash[i].IsPage() {
			l.pages = append(l.pages, trash[i])
		}
	}
}

// listTrash is all trash of the current manifest that is there still, and what is pinned.
func (p *partition) listTrash(ctx context.Context) (*listedTrash, error) {
	m, d := p.manifest.Load(), &p.chores.deleted
	if n := m.TrashEntries() - d.count(m); n > maxListedTrash {
		return nil, fmt.Errorf("%w: %d objects wait to be deleted", ErrUnavailable, n)
	}
	l := &listedTrash{names: map[string]bool{}}
	for _, pin := range m.Pins {
		l.names[pin.Manifest] = true
	}
	l.add(m.Trash, d.gone)
	for i := range m.TrashPages {
		r := &m.TrashPages[i]
		if l.names[r.Name] = true; d.emptied[r.Name] {
			continue
		}
		if err := p.listPage(ctx, l, r, d.in[r.Name]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// listPage adds what a trash page lists, and those below it.
func (p *partition) listPage(ctx context.Context, l *listedTrash, r *format.TrashRef, gone map[string]bool) error {
	page, err := p.loadTrash(ctx, r)
	if errors.Is(err, objstore.ErrNotFound) { // it was deleted with all that it listed
		return nil
	}
	if err != nil {
		return err
	}
	l.add(page.Trash, gone)
	for i := range page.Pages {
		l.names[page.Pages[i].Name] = true
		if err = p.listPage(ctx, l, &page.Pages[i], gone); err != nil {
			return err
		}
	}
	return nil
}
