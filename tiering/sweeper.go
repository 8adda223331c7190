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

// sweep deletes, rarely, the objects of the partition that nothing names: those of interrupted
// uploads and of deposed leaders. Package ownership says which objects these may be, and when. A
// log that does not continue the tier is a reason to doubt the manifest: then nothing is swept.
func (p *partition) sweep(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now()
	if p.deletions.takeUnread() {
		p.chores.nextSweep = now
	}
	if now.Before(p.chores.nextSweep) || p.fails(workUpload, needsRepair) {
		return false, nil
	}
	return false, p.do(ctx, ownership.SweepDue{}, func(ctx context.Context, r ownership.Request) (ownership.Event, error) {
		return ownership.Done{Request: r}, p.removeOrphans(ctx, r.(ownership.Sweep), now)
	})
}

// sweeping is a sweep in progress.
type sweeping struct {
	p       *partition
	request ownership.Sweep
	began   time.Time
	current *format.Manifest // not replaced before the sweep has ended
	listed  *listedTrash
	found   []string // orphans that still exist
	removed int
	refused map[string]*failure
	unknown error // why it is unknown whether some object is named; nil: it is known
}

// removeOrphans performs the request of a sweep that began at a time. An object that cannot be
// deleted, or that an unreadable page may name, stays until the next sweep.
func (p *partition) removeOrphans(ctx context.Context, r ownership.Sweep, began time.Time) error {
	s := &sweeping{p: p, request: r, began: began, refused: map[string]*failure{}}
	var err error
	if s.current, err = p.wholeForWork(ctx); err == nil {
		s.listed, err = p.listTrash(ctx)
	}
	if err != nil { // without the list of trash nothing can be taken for an orphan
		if s.unknown = err; errors.Is(err, ErrCorrupt) || beyond(err) {
			s.ended(ctx)
			return nil
		}
		return fmt.Errorf("sweep: %w", err)
	}
	for info, err := range p.m.objects.bucket.List(ctx, p.prefix) {
		if err != nil {
			return fmt.Errorf("sweep: %w", classify("list", p.prefix, err))
		}
		name, ours := format.ParseName(strings.TrimPrefix(info.Key, p.prefix))
		if !ours || name.LeaderEpoch > r.LeaderEpoch || began.Sub(info.ModTime) < p.m.o.SweepGrace {
			continue
		}
		named, nameErr := s.names(ctx, name)
		switch {
		case errors.Is(nameErr, ErrCorrupt):
			s.unknown = nameErr
			continue
		case nameErr != nil:
			return fmt.Errorf("sweep: %w", nameErr)
		case named:
			continue
		}
		if s.found = append(s.found, info.Key); len(s.found) == deleteBatch {
			if err = s.remove(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.remove(ctx); err != nil {
		return err
	}
	s.ended(ctx)
	return nil
}

// remove deletes what was found.
func (s *sweeping) remove(ctx context.Context) error {
	if len(s.found) == 0 {
		return nil
	}
	errs := s.p.m.objects.removeAll(ctx, s.found)
	for i, err := range errs {
		if err == nil {
			s.p.m.metrics.sweptObjects.Inc()
			s.removed++
			continue
		}
		s.p.m.metrics.errors.WithLabelValues("sweep").Inc()
		refuse(ctx, &s.refused, s.found[i], err, s.began, s.p.m.newRefusal(s.began))
	}
	all := len(s.refused) > 0 && s.removed == 0 && len(s.found) > 1
	s.found = s.found[:0]
	if all || ctx.Err() != nil { // perhaps the store deletes nothing
		return fmt.Errorf("sweep: %w", firstOf(errs))
	}
	return nil
}

// ended records what a sweep has left, and when the next one is due.
func (s *sweeping) ended(ctx context.Context) {
	p := s.p
	p.deletions.swept(s.refused)
	p.chores.nextSweep = s.began.Add(p.m.o.SweepInterval + jitter(ctx, p.m.o.SweepInterval/8))
	p.m.lastSuccess.note(successSweep, p.m.o.Now())
	if s.removed > 0 {
		p.logger().Info("objects that no manifest names are removed", slog.Int("objects", s.removed))
	}
	for key, f := range s.refused { // any order
		p.logger().Warn("objects that no manifest names cannot be removed",
			slog.Int("objects", len(s.refused)), slog.String("object", key), slog.Any("error", f.err))
		break // one of them is enough
	}
	if s.unknown != nil {
		p.logger().Warn("a sweep could not look at a part of the remote tier", slog.Any("error", s.unknown))
	}
}

// names reports whether the current manifest, its pages or its trash name the object, or the sweep
// has to spare it. A page or segment is looked up at the offset in its name, so that the history
// does not have to be held in memory.
func (s *sweeping) names(ctx context.Context, n format.Name) (bool, error) {
	m, name := s.current, n.String()
	if s.listed.has(n) || name == manifestName(s.request.Current) || s.request.Staged.Has(name) {
		return true, nil
	}
	if n.Kind != format.KindSegment && n.Kind != format.KindPage {
		return false, nil
	}
	for node, err := range m.Tree(s.p.lookAtWritable).Path(ctx, format.UpTo(n.StartOffset)) {
		switch {
		case beyond(err): // it may name anything
			return true, nil
		case err != nil:
			return false, err
		case node.Segment != nil:
			s := node.Segment
			return s.Name == name || n.StartOffset < s.EndOffset && s.Supported() != nil, nil
		case node.Page.Name == name || node.Page.Supported() != nil:
			return true, nil
		// The page is deleted, or trash, and so is everything below it.
		case node.Page.EndOffset <= m.StartOffset:
			return false, nil
		// A page that names it would start there or earlier, and have a higher level.
		case n.Kind == format.KindPage && node.Page.Level <= n.Level:
			return false, nil
		}
	}
	return false, nil
}

// maxListedTrash bounds how much trash a sweep holds in memory. Where there is more,
// deletions fail anyway.
const maxListedTrash = 1 << 17

// listedTrash is what the manifest and its trash pages list.
type listedTrash struct {
	names map[string]bool
	pages []format.Trash // of the tree: what they name is trash too
}

// has reports whether the object is trash, which deleteListed deletes.
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

// add adds trash, except what is already deleted.
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

// listTrash returns all trash of the current manifest that still exists, and what is pinned.
func (p *partition) listTrash(ctx context.Context) (*listedTrash, error) {
	m, d := p.manifest.Load(), &p.deletions
	if n := m.TrashEntries() - d.doneCount(m); n > maxListedTrash {
		return nil, fmt.Errorf("%w: %d objects wait to be deleted", ErrUnavailable, n)
	}
	l := &listedTrash{names: map[string]bool{}}
	for _, pin := range m.Pins {
		l.names[pin.Manifest] = true
	}
	l.add(m.Trash, d.goneOf(""))
	for i := range m.TrashPages {
		r := &m.TrashPages[i]
		if l.names[r.Name] = true; d.isEmptied(r.Name) {
			continue
		}
		if err := p.listPage(ctx, l, r, d.goneOf(r.Name)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// listPage adds what a trash page lists, and what the pages below it list.
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
