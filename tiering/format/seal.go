package format

import "slices"

// Shape bounds how much a manifest holds itself. If it has more than Inline entries of a kind, the
// oldest are sealed into pages of Page entries. Of trash it keeps Page entries and seals the rest
// once there are more than Inline. Readers accept any shape.
type Shape struct{ Inline, Page int }

// DefaultShape keeps a manifest below about 200 KB, however long the history is.
var DefaultShape = Shape{Inline: 128, Page: 64}

// Sealed is a page that was cut off a manifest and must be written before it.
type Sealed struct {
	Name    string
	Content []byte
}

// Seal moves the oldest entries of a manifest that has too many into pages, which the caller
// writes before the manifest. It is called on a copy that Next made. The attempt goes into
// the pages' names.
func (m *Manifest) Seal(s Shape, attempt string) ([]Sealed, error) {
	sealer := sealer{m: m, attempt: attempt}
	if err := sealer.entries(s); err != nil {
		return nil, err
	}
	if err := sealer.trash(s); err != nil {
		return nil, err
	}
	return sealer.out, nil
}

type sealer struct {
	m       *Manifest
	attempt string
	out     []Sealed
}

func (s *sealer) entries(shape Shape) error {
	m := s.m
	for len(m.Recent) > shape.Inline { // one commit may append many
		ref, err := s.page(&Page{Segments: slices.Clone(m.Recent[:shape.Page])}, m.Recent[0].StartOffset)
		if err != nil {
			return err
		}
		m.Pages = append(m.Pages, ref)
		m.Recent = slices.Delete(m.Recent, 0, shape.Page)
	}
	// Higher levels are older, so the references of one level are adjacent.
	for level := range MaxLevel {
		sealed, err := s.level(shape, level)
		if err != nil || !sealed {
			return err
		}
	}
	return nil
}

// level seals the oldest references of a level while there are too many. It returns false if
// there were not.
func (s *sealer) level(shape Shape, level int) (sealed bool, err error) {
	m := s.m
	for {
		first := slices.IndexFunc(m.Pages, func(r PageRef) bool { return r.Level == level })
		last := first
		for first >= 0 && last < len(m.Pages) && m.Pages[last].Level == level {
			last++
		}
		if last-first <= shape.Inline {
			return sealed, nil
		}
		cut := slices.Clone(m.Pages[first : first+shape.Page])
		ref, err := s.page(&Page{Level: level + 1, Pages: cut}, cut[0].StartOffset)
		if err != nil {
			return sealed, err
		}
		m.Pages = slices.Replace(m.Pages, first, first+shape.Page, ref)
		sealed = true
	}
}

func (s *sealer) page(p *Page, start int64) (PageRef, error) {
	content, err := p.Encode()
	if err != nil {
		return PageRef{}, err
	}
	name := Name{Kind: KindPage, Level: p.Level, StartOffset: start, LeaderEpoch: s.m.LeaderEpoch, Attempt: s.attempt}.String()
	s.out = append(s.out, Sealed{name, content})
	return p.Ref(name, content), nil
}

func (s *sealer) trash(shape Shape) error {
	m := s.m
	if len(m.Trash) > shape.Inline {
		old := len(m.Trash) - shape.Page
		ref, err := s.trashPage(&TrashPage{Trash: slices.Clone(m.Trash[:old])}, "a")
		if err != nil {
			return err
		}
		m.TrashPages = append(slices.Clone(m.TrashPages), ref)
		m.Trash = slices.Delete(m.Trash, 0, old)
	}
	if len(m.TrashPages) > shape.Inline {
		ref, err := s.trashPage(&TrashPage{Pages: slices.Clone(m.TrashPages[:shape.Page])}, "b")
		if err != nil {
			return err
		}
		m.TrashPages = append([]TrashRef{ref}, m.TrashPages[shape.Page:]...)
	}
	return nil
}

// trashPage takes a suffix for the attempt: two trash pages may be sealed in one commit.
func (s *sealer) trashPage(p *TrashPage, suffix string) (TrashRef, error) {
	content, err := p.Encode()
	if err != nil {
		return TrashRef{}, err
	}
	name := Name{Kind: KindTrash, LeaderEpoch: s.m.LeaderEpoch, Sequence: s.m.Sequence - 1, Attempt: s.attempt + suffix}.String()
	s.out = append(s.out, Sealed{name, content})
	return p.Ref(name, content), nil
}
