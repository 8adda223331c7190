package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/varvelog/varve/tiering/ownership"
)

// sweep removes, rarely, the objects of the partition that nothing names: those
// of uploads that a crash cut short and of leaders that were deposed. Package
// ownership says which objects these may be, and when. A log that does not continue the
// tier is a reason to doubt the manifest, and then nothing is swept.
func (p *partition) sweep(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now()
	if p.deletions.takeUnread() {
		p.chores.nextSweep = now
	}
	if now.Before(p.chores.nextSweep) || p.fails(workUpload, ErrGap) {
		return false, nil
	}
	return false, p.do(ctx, ownership.SweepDue{}, func(ctx context.Context, r ownership.Request) error {
		return p.removeOrphans(ctx, r.(ownership.Sweep), now)
	})
}

// sweeping is a sweep under way.
type sweeping struct {
	p       *partition
	request ownership.Sweep
	began   time.Time
	listed  map[string]bool // the deletion list
	pages   []int64         // where the pages on it begin that are not gone
	found   []string        // orphans that are still there
	removed int
	refused map[string]*failure
	unknown error // why it is not known of some object whether it is named
}

// removeOrphans does the request of a sweep that began at a time. An object that cannot
// be removed, or may be named by a page that cannot be read, stays until the next sweep.
func (p *partition) removeOrphans(ctx context.Context, r ownership.Sweep, began time.Time) error {
	s := &sweeping{p: p, request: r, began: began, refused: map[string]*failure{}}
	s.list(p.manifest.Load())
	for info, err := range p.m.objects.bucket.List(ctx, p.prefix) {
		if err != nil {
			return fmt.Errorf("sweep: %w", classify("list", p.prefix, err))
		}
		name, ours := parseName(strings.TrimPrefix(info.Key, p.prefix))
		if !ours || name.epoch > r.LeaderEpoch || began.Sub(info.ModTime) < p.m.o.SweepGrace {
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
	s.ended()
	return nil
}

// list takes the deletion list.
func (s *sweeping) list(m *manifest) {
	s.listed = m.listed()
	gone := s.p.deletions.done()
	for name := range s.listed {
		if n, _ := parseName(name); n.kind == kindPage && !gone[name] {
			s.pages = append(s.pages, n.start)
		}
	}
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
		refuse(&s.refused, s.found[i], err, s.began, s.p.m.newRefusal(s.began))
	}
	all := len(s.refused) > 0 && s.removed == 0 && len(s.found) > 1
	s.found = s.found[:0]
	if all || ctx.Err() != nil { // perhaps the store deletes nothing
		return fmt.Errorf("sweep: %w", firstOf(errs))
	}
	return nil
}

// ended notes what a sweep has left, and when the next one is due.
func (s *sweeping) ended() {
	p := s.p
	p.deletions.swept(s.refused)
	p.chores.nextSweep = s.began.Add(p.m.o.SweepInterval + p.m.jitter(p.m.o.SweepInterval/8))
	p.m.lastSuccess.note(successSweep, p.m.o.Now())
	if s.removed > 0 {
		p.logger().Info("objects that no manifest names are removed", slog.Int("objects", s.removed))
	}
	for key, f := range s.refused {
		p.logger().Warn("objects that no manifest names cannot be removed",
			slog.Int("objects", len(s.refused)), slog.String("object", key), slog.Any("error", f.err))
		break // one of them says enough
	}
	if s.unknown != nil {
		p.logger().Warn("a sweep could not look at a part of the remote tier", slog.Any("error", s.unknown))
	}
}

// names returns true if the current manifest, its pages or its deletion list name
// the object, or the sweep has to spare it. A page or segment is looked for at the
// offset that its name tells, so that nothing of the history has to be held in memory.
// Segments that are deleted but still in a page count as named: the deletion list is
// what removes them.
func (s *sweeping) names(ctx context.Context, n objectName) (bool, error) {
	m, name := s.p.manifest.Load(), n.String()
	if s.listed[name] || name == manifestName(s.request.Current) || name == s.request.Staged {
		return true, nil
	}
	if n.kind == kindManifest {
		return false, nil
	}
	found, ref := m.find(n.start)
	for ref != nil {
		// A page above ours starts at the same offset or earlier.
		if ref.Name == name {
			return true, nil
		}
		if n.kind == kindPage && ref.Level <= n.level {
			return false, nil
		}
		if ref.EndOffset <= m.StartOffset {
			break // it is dead, with all that it names, and gone or on its way
		}
		pg, err := s.p.lookAtPage(ctx, *ref)
		if err != nil {
			return false, err
		}
		found, ref = findSegment(pg.Segments, n.start), findPage(pg.Pages, n.start)
	}
	if found != nil && found.Name == name {
		return true, nil
	}
	return n.start < m.StartOffset && s.pending(n.start), nil
}

// pending returns true if a page on the deletion list may name an object that begins at an
// offset. It goes with the page, after the grace that readers have.
func (s *sweeping) pending(start int64) bool {
	for _, page := range s.pages {
		if page <= start {
			return true
		}
	}
	return false
}
