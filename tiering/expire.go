package tiering

import (
	"context"
)

// expire moves the start of the tier to newStart, the end of some segment, and
// queues for deletion what lies below. It belongs to a copy that next made. What
// it queues is bounded by the size of the manifest, not by how much is deleted:
// a page that is dead as a whole is one entry.
func (m *manifest) expire(ctx context.Context, newStart, deleteAfterMs int64, load pageLoader) error {
	oldStart := m.StartOffset
	drop := func(name string) {
		m.Deletions = append(m.Deletions, deletion{Name: name, AfterMs: deleteAfterMs})
	}
	dead := 0
	for _, ref := range m.Pages {
		if ref.EndOffset <= newStart {
			drop(ref.Name)
			dead++
			continue
		}
		if ref.StartOffset < newStart {
			if err := dropBelow(ctx, ref, oldStart, newStart, load, drop); err != nil {
				return err
			}
		}
		break
	}
	m.Pages = m.Pages[dead:]
	dead = 0
	for _, s := range m.Recent {
		if s.EndOffset > newStart {
			break
		}
		drop(s.Name)
		dead++
	}
	m.Recent = m.Recent[dead:]
	m.StartOffset = newStart
	return m.count(ctx, load)
}

// dropBelow queues what is newly dead in a page that lives on.
func dropBelow(ctx context.Context, ref pageRef, oldStart, newStart int64, load pageLoader, drop func(string)) error {
	p, err := load(ctx, ref)
	if err != nil {
		return err
	}
	for _, s := range p.Segments {
		if s.EndOffset > oldStart && s.EndOffset <= newStart {
			drop(s.Name)
		}
	}
	for _, r := range p.Pages {
		switch {
		case r.EndOffset <= oldStart || r.StartOffset >= newStart:
		case r.EndOffset <= newStart:
			drop(r.Name)
		default:
			if err = dropBelow(ctx, r, oldStart, newStart, load, drop); err != nil {
				return err
			}
		}
	}
	return nil
}

// count sets the totals anew from the summaries, going down only into the one
// page of each level that is dead in part.
func (m *manifest) count(ctx context.Context, load pageLoader) error {
	m.Segments, m.Bytes = 0, 0
	if err := m.countPages(ctx, m.Pages, load); err != nil {
		return err
	}
	m.countSegments(m.Recent)
	return nil
}

func (m *manifest) countPages(ctx context.Context, refs []pageRef, load pageLoader) error {
	for _, ref := range refs {
		switch {
		case ref.EndOffset <= m.StartOffset:
		case ref.StartOffset >= m.StartOffset:
			m.Segments += ref.Segments
			m.Bytes += ref.Bytes
		default:
			p, err := load(ctx, ref)
			if err != nil {
				return err
			}
			if err = m.countPages(ctx, p.Pages, load); err != nil {
				return err
			}
			m.countSegments(p.Segments)
		}
	}
	return nil
}

func (m *manifest) countSegments(segments []segment) {
	for _, s := range segments {
		if s.EndOffset > m.StartOffset {
			m.Segments++
			m.Bytes += s.ownBytes()
		}
	}
}
