package tiering

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// page is a sealed run of entries: segments at level 0, pages of one level less
// above. It is immutable and shared by all manifests that name it.
type page struct {
	Level    int       `json:"level"`
	Segments []segment `json:"segments,omitempty"`
	Pages    []pageRef `json:"pages,omitempty"`
}

// sealed is a page that has been cut off a manifest and must be written before it.
type sealed struct {
	name string
	page *page
}

// cost is about what the page takes in memory.
func (p *page) cost() int64 { return int64(len(p.Segments)+len(p.Pages)) * 320 }

func (p *page) encode() ([]byte, error) { return sealDocument(pageFormat, p) }

// parsePage reads and checks what encode wrote. ref is the entry that names the page.
func parsePage(b []byte, ref pageRef) (*page, error) {
	p := &page{}
	if err := openDocument(pageFormat, b, p); err != nil {
		return nil, err
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	if p.Level != ref.Level {
		return nil, fmt.Errorf("%w: page %q has level %d, want %d", ErrCorrupt, ref.Name, p.Level, ref.Level)
	}
	ref.unknown = "" // which cannot be checked
	if got := p.summary(ref.Name); got != ref {
		return nil, fmt.Errorf("%w: page %q is not the one that was sealed", ErrCorrupt, ref.Name)
	}
	return p, nil
}

func (p *page) validate() error {
	next := int64(-1)
	if p.Level < 0 || p.Level > maxLevel || (p.Level == 0) != (len(p.Pages) == 0) || (p.Level == 0) != (len(p.Segments) > 0) {
		return fmt.Errorf("%w: page of level %d", ErrCorrupt, p.Level)
	}
	for i := range p.Segments {
		if err := p.Segments[i].check(&next); err != nil {
			return err
		}
	}
	for i := range p.Pages {
		if err := p.Pages[i].check(&next); err != nil {
			return err
		}
		if p.Pages[i].Level != p.Level-1 {
			return fmt.Errorf("%w: page of level %d has one of level %d", ErrCorrupt, p.Level, p.Pages[i].Level)
		}
	}
	return nil
}

// summary is the entry that stands for the page.
func (p *page) summary(name string) pageRef {
	ref := pageRef{Name: name, Level: p.Level, MaxTimestamp: -1}
	for i := range p.Segments {
		s := &p.Segments[i]
		if i == 0 {
			ref.StartOffset, ref.FirstEpoch = s.StartOffset, int32(s.Epochs[0][0])
		}
		ref.EndOffset, ref.LastEpoch = s.EndOffset, int32(s.Epochs[len(s.Epochs)-1][0])
		ref.MaxTimestamp = max(ref.MaxTimestamp, s.MaxTimestamp)
		ref.Bytes += s.ownBytes()
		ref.Segments++
	}
	for i := range p.Pages {
		r := &p.Pages[i]
		if i == 0 {
			ref.StartOffset, ref.FirstEpoch = r.StartOffset, r.FirstEpoch
		}
		ref.EndOffset, ref.LastEpoch = r.EndOffset, r.LastEpoch
		ref.MaxTimestamp = max(ref.MaxTimestamp, r.MaxTimestamp)
		ref.Bytes += r.Bytes
		ref.Segments += r.Segments
	}
	return ref
}

// seal moves the oldest entries of a manifest that has too many into pages,
// which the caller writes before the manifest. It belongs to a copy that next made.
func (m *manifest) seal(s shape, attempt string) []sealed {
	var out []sealed
	add := func(p *page, start int64) pageRef {
		name := objectName{kind: kindPage, level: p.Level, start: start, epoch: m.LeaderEpoch, attempt: attempt}.String()
		out = append(out, sealed{name, p})
		return p.summary(name)
	}
	if len(m.Recent) > s.inline {
		cut := slices.Clone(m.Recent[:s.page])
		m.Pages = append(m.Pages, add(&page{Segments: cut}, cut[0].StartOffset))
		m.Recent = slices.Delete(m.Recent, 0, s.page)
	}
	// Higher levels are older, so that the refs of one level stand together.
	for level := range maxLevel {
		first := slices.IndexFunc(m.Pages, func(r pageRef) bool { return r.Level == level })
		if first < 0 {
			break
		}
		last := first
		for last < len(m.Pages) && m.Pages[last].Level == level {
			last++
		}
		if last-first <= s.inline {
			break
		}
		cut := slices.Clone(m.Pages[first : first+s.page])
		ref := add(&page{Level: level + 1, Pages: cut}, cut[0].StartOffset)
		m.Pages = slices.Replace(m.Pages, first, first+s.page, ref)
	}
	return out
}

// pageLoader reads a page, from the cache or from the bucket.
type pageLoader func(ctx context.Context, ref pageRef) (*page, error)

// locate finds the segment that serves an offset, through pages if need be.
func (m *manifest) locate(ctx context.Context, offset int64, load pageLoader) (segment, error) {
	if offset < m.StartOffset || offset >= m.EndOffset {
		return segment{}, fmt.Errorf("%w: %d is outside of [%d, %d)", ErrOffsetOutOfRange, offset, m.StartOffset, m.EndOffset)
	}
	s, ref := m.find(offset)
	for s == nil {
		if ref == nil {
			return segment{}, fmt.Errorf("%w: no entry of the manifest has offset %d", ErrCorrupt, offset)
		}
		p, err := load(ctx, *ref)
		if err != nil {
			return segment{}, err
		}
		s, ref = findSegment(p.Segments, offset), findPage(p.Pages, offset)
	}
	return *s, nil
}

// segmentsFrom yields the live segments whose end is above from, in order. It
// does not look into pages for which skip (if any) is true.
func (m *manifest) segmentsFrom(ctx context.Context, from int64, load pageLoader, skip func(pageRef) bool) iter.Seq2[segment, error] {
	from = max(from, m.StartOffset)
	return func(yield func(segment, error) bool) {
		walkPages(ctx, m.Pages, from, load, skip, yield, func() {
			for _, s := range m.Recent {
				if s.EndOffset > from && !yield(s, nil) {
					return
				}
			}
		})
	}
}

// walkPages yields the segments below refs and then, unless it was stopped, calls then.
func walkPages(ctx context.Context, refs []pageRef, from int64, load pageLoader, skip func(pageRef) bool,
	yield func(segment, error) bool, then func(),
) {
	stopped := false
	for _, ref := range refs {
		if ref.EndOffset <= from || (skip != nil && skip(ref)) {
			continue
		}
		p, err := load(ctx, ref)
		if err != nil {
			yield(segment{}, err)
			return
		}
		inner := func(s segment, yieldErr error) bool {
			stopped = !yield(s, yieldErr) || yieldErr != nil
			return !stopped
		}
		for _, s := range p.Segments {
			if s.EndOffset > from && !inner(s, nil) {
				return
			}
		}
		walkPages(ctx, p.Pages, from, load, skip, inner, func() {})
		if stopped {
			return
		}
	}
	then()
}
