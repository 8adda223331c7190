package format

import (
	"context"
	"slices"
)

// Edit says which leader makes the next version of a manifest, and when.
type Edit struct {
	BrokerID    int32
	LeaderEpoch int32
	NowMs       int64
	DeleteMs    int64 // what becomes trash may be deleted from then on
	CutMs       int64 // the same for what Cut makes trash
	LogStart    int64
	Current     Stored // the manifest that is replaced; zero: none was written
	// Gone has the names of deleted trash, Emptied those of trash pages whose entries are all
	// deleted.
	Gone, Emptied map[string]bool
}

// Next returns a copy with the header of the next version, which the other edits may change. The
// replaced manifest becomes trash. The sequence is the lowest that the next version may have; its
// name has no attempt yet.
func (m *Manifest) Next(e Edit) *Manifest {
	m.whole()
	n := *m
	n.LeaderEpoch, n.BrokerID, n.Attempt, n.CreatedMs = e.LeaderEpoch, e.BrokerID, "", e.NowMs
	n.Sequence++
	n.raiseLogStart(e.LogStart)
	n.Pages, n.Recent = slices.Clone(m.Pages), slices.Clone(m.Recent)
	n.Pins = slices.DeleteFunc(slices.Clone(m.Pins), func(p Pin) bool { return p.UntilMs <= e.NowMs })
	n.Trash = slices.DeleteFunc(slices.Clone(m.Trash), func(t Trash) bool { return e.Gone[t.Name] })
	n.TrashPages = nil
	for _, r := range m.TrashPages {
		if !e.Emptied[r.Name] {
			n.TrashPages = append(n.TrashPages, r)
			continue
		}
		n.discard(e, Trash{Kind: KindTrash.String(), Name: r.Name, Loc: r.Loc, Size: r.Size, Reason: ReasonEmptyTrash, Read: r.Read})
	}
	n.Prev = nil
	if m.Sequence > 0 {
		n.Prev = &Prev{Name: e.Current.Name, CRC32C: e.Current.CRC32C}
		n.discard(e, Trash{Kind: KindManifest.String(), Name: e.Current.Name, Size: e.Current.Size, Reason: ReasonReplacedManifest})
	}
	return &n
}

// raiseLogStart raises the log start offset, at most to the end of the tier. It never goes back.
func (m *Manifest) raiseLogStart(to int64) {
	m.LogStart = min(max(to, m.LogStart, m.StartOffset), m.EndOffset)
}

// discard lists an object as trash.
func (m *Manifest) discard(e Edit, t Trash) {
	t.DeletedMs, t.AfterMs = e.NowMs, e.DeleteMs
	m.Trash = append(m.Trash, t)
}

// Append adds a segment that continues the tier. It is called on a copy that Next made, and may
// raise that copy's log start offset, since the tier ends later.
func (m *Manifest) Append(e Edit, s Segment) {
	if m.Empty() {
		m.StartOffset = s.StartOffset
		m.Oldest = oldestOf(&s)
	}
	m.EndOffset, m.LastEpoch = s.EndOffset, s.LastEpoch()
	m.raiseLogStart(e.LogStart)
	m.Segments++
	m.Bytes += s.Bytes
	m.Recent = append(m.Recent, s)
}

func oldestOf(s *Segment) *Oldest {
	return &Oldest{EndOffset: s.EndOffset, Time: s.RetentionTime(), Bytes: s.Bytes}
}

// Expire moves the start of the tier to newStart, the end of a segment, and makes trash of
// everything below. It is called on a copy that Next made. What it lists is bounded by the size of
// the manifest, not by how much is deleted: a page below newStart as a whole is one entry.
func (m *Manifest) Expire(ctx context.Context, e Edit, newStart int64, load Loader) error {
	oldStart := m.StartOffset
	reason := func(end int64) string {
		if end <= e.LogStart {
			return ReasonLogStart
		}
		return ReasonRetention
	}
	err := m.Tree(load).Walk(ctx, Visitor{
		Enter: func(r *PageRef) (bool, error) {
			switch {
			case r.EndOffset <= oldStart: // it is in a page that was partly expired before
				return false, nil
			case r.EndOffset <= newStart:
				m.discard(e, Trash{
					Kind: KindPage.String(), Name: r.Name, Loc: r.Loc, StartOffset: r.StartOffset, EndOffset: r.EndOffset, Bytes: r.Bytes,
					Size: r.Size, CRC32C: r.CRC32C, Reason: reason(r.EndOffset), Read: r.Read,
				})
				return false, nil
			}
			return r.StartOffset < newStart, nil
		},
		Segment: func(s *Segment) error {
			if s.EndOffset > newStart {
				return ErrStop
			}
			if s.EndOffset > oldStart && s.Flags&FlagBorrowed == 0 {
				m.discard(e, Trash{
					Kind: KindSegment.String(), Name: s.Name, Loc: s.Loc, StartOffset: s.StartOffset, EndOffset: s.EndOffset, Bytes: s.Bytes,
					Size: s.ObjectBytes, Reason: reason(s.EndOffset), Read: s.Read,
				})
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	m.Pages = slices.DeleteFunc(m.Pages, func(r PageRef) bool { return r.EndOffset <= newStart })
	m.Recent = slices.DeleteFunc(m.Recent, func(s Segment) bool { return s.EndOffset <= newStart })
	m.StartOffset = newStart
	m.raiseLogStart(e.LogStart)
	return m.count(ctx, load)
}

// count recomputes the totals and the oldest segment from the summaries. It loads only the one page
// of each level that is partly expired.
func (m *Manifest) count(ctx context.Context, load Loader) error {
	m.Segments, m.Bytes, m.Oldest = 0, 0, nil
	add := func(segments, bytes int64, first *Oldest) {
		m.Segments += segments
		m.Bytes += bytes
		if m.Oldest == nil {
			m.Oldest = first
		}
	}
	return m.Tree(load).Walk(ctx, Visitor{
		Enter: func(r *PageRef) (bool, error) {
			if r.EndOffset <= m.StartOffset {
				return false, nil
			}
			if r.StartOffset >= m.StartOffset {
				add(r.Segments, r.Bytes, &Oldest{EndOffset: r.FirstEnd, Time: r.FirstTime, Bytes: r.FirstBytes})
				return false, nil
			}
			return true, nil
		},
		Segment: func(s *Segment) error {
			if s.EndOffset > m.StartOffset {
				add(1, s.Bytes, oldestOf(s))
			}
			return nil
		},
	})
}
