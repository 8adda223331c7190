package format

import (
	"context"
	"slices"
)

// Cut ends the history at an offset that the tier has, because a leader's log has other records
// from there on. It is called on a copy that Next made. Entries at and after the offset become
// trash, which may be deleted at Edit.CutMs. A page that reaches to both sides of the offset is
// opened: its entries below the offset replace it, and the page becomes trash alone.
//
// If no entry remains, the tier begins again, empty, at the offset, or at the log start offset if
// that is lower.
func (m *Manifest) Cut(ctx context.Context, e Edit, at int64, load Loader) error {
	c := cutting{m: m, e: e, at: at}
	m.Lineage = append(slices.Clone(m.Lineage), Cut{Offset: at, LeaderEpoch: m.LastEpoch, ByEpoch: e.LeaderEpoch, Ms: e.NowMs})
	tree := m.Tree(load)
	if err := tree.Walk(ctx, Visitor{Enter: c.enter, Segment: c.segment, Leave: c.leave}); err != nil {
		return err
	}
	m.Pages, m.Recent = c.pages, c.segments
	m.EndOffset, m.LastEpoch = at, c.lastEpoch()
	m.LogStart = min(m.LogStart, at)
	if m.Empty() {
		m.EndOffset = min(at, e.LogStart)
		m.StartOffset, m.LogStart = m.EndOffset, m.EndOffset
	}
	return m.count(ctx, load)
}

// cutting is a cut in progress. pages and segments are the entries that stay.
type cutting struct {
	m        *Manifest
	e        Edit
	at       int64
	pages    []PageRef
	segments []Segment
}

// discard lists an object as trash.
func (c *cutting) discard(t Trash) {
	t.Reason, t.DeletedMs, t.AfterMs = ReasonCut, c.e.NowMs, c.e.CutMs
	c.m.Trash = append(c.m.Trash, t)
}

func (c *cutting) enter(r *PageRef) (bool, error) {
	t := Trash{
		Kind: KindPage.String(), Name: r.Name, Loc: r.Loc, StartOffset: r.StartOffset, EndOffset: r.EndOffset, Bytes: r.Bytes,
		Size: r.Size, CRC32C: r.CRC32C, Read: r.Read,
	}
	switch {
	case r.EndOffset <= c.m.StartOffset: // the page is already deleted, or trash
		return false, nil
	case r.EndOffset <= c.at:
		c.pages = append(c.pages, *r)
		return false, nil
	case r.StartOffset >= c.at:
		c.discard(t)
		return false, nil
	}
	return true, nil
}

func (c *cutting) leave(r *PageRef) error {
	c.discard(Trash{
		Kind: KindPage.String(), Name: r.Name, Loc: r.Loc, Alone: true, StartOffset: r.StartOffset, EndOffset: r.EndOffset,
		Size: r.Size, CRC32C: r.CRC32C, Read: r.Read,
	})
	return nil
}

func (c *cutting) segment(s *Segment) error {
	switch {
	case s.EndOffset <= c.m.StartOffset:
	case s.EndOffset <= c.at:
		c.segments = append(c.segments, *s)
	case s.StartOffset >= c.at:
		if s.Flags&FlagBorrowed == 0 {
			c.discard(Trash{
				Kind: KindSegment.String(), Name: s.Name, Loc: s.Loc, StartOffset: s.StartOffset, EndOffset: s.EndOffset, Bytes: s.Bytes,
				Size: s.ObjectBytes, Read: s.Read,
			})
		}
	default:
		c.segments = append(c.segments, s.until(c.at))
	}
	return nil
}

// until returns the entry with an earlier end. The number of log bytes in its range is then an
// estimate by offsets.
func (s *Segment) until(end int64) Segment {
	cut := *s
	cut.EndOffset = end
	cut.Bytes = s.Bytes * (end - s.StartOffset) / (s.EndOffset - s.StartOffset)
	cut.Epochs = slices.DeleteFunc(slices.Clone(s.Epochs), func(e Epoch) bool { return e.StartOffset() >= end })
	return cut
}

// lastEpoch returns the leader epoch at the end of what stays, -1 if nothing does.
func (c *cutting) lastEpoch() int32 {
	if n := len(c.segments); n > 0 {
		return c.segments[n-1].LastEpoch()
	}
	if n := len(c.pages); n > 0 {
		return c.pages[n-1].LastEpoch
	}
	return -1
}
