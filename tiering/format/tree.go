package format

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
)

// Loader reads a page of the tree, from a cache or from the bucket.
type Loader func(ctx context.Context, ref *PageRef) (*Page, error)

// Tree is the entries of a manifest or of a page, and everything below them: pages before segments,
// each in offset order. Entries that it passes on are shared and read only.
type Tree struct {
	Pages    []PageRef
	Segments []Segment
	Load     Loader
}

// Tree returns the manifest's tree. A page of it may also have entries that are already expired:
// see StartOffset.
func (m *Manifest) Tree(load Loader) Tree {
	m.whole()
	return Tree{m.Pages, m.Recent, load}
}

// ErrStop ends a walk, which then returns no error.
var ErrStop = errors.New("end of the walk")

// Visitor has the functions that a walk calls. A nil function is not called.
type Visitor struct {
	// Enter is called for a page before what is below it. If it returns false, the walk skips what
	// is below. Without Enter all pages are entered.
	Enter func(r *PageRef) (bool, error)
	// Segment is called for each segment.
	Segment func(s *Segment) error
	// Leave is called for a page that was entered, after what is below it.
	Leave func(r *PageRef) error
}

// Walk visits the entries in offset order. It ends with the first error of the visitor or of
// loading a page; ErrStop is no error. A page that is not supported is not loaded.
func (t Tree) Walk(ctx context.Context, v Visitor) error {
	if err := t.walk(ctx, &v); !errors.Is(err, ErrStop) {
		return err
	}
	return nil
}

func (t Tree) walk(ctx context.Context, v *Visitor) error {
	for i := range t.Pages {
		if err := t.visit(ctx, &t.Pages[i], v); err != nil {
			return err
		}
	}
	if v.Segment == nil {
		return nil
	}
	for i := range t.Segments {
		if err := v.Segment(&t.Segments[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t Tree) visit(ctx context.Context, r *PageRef, v *Visitor) error {
	if v.Enter != nil {
		if enter, err := v.Enter(r); err != nil || !enter {
			return err
		}
	}
	below, err := t.below(ctx, r)
	if err != nil {
		return err
	}
	if err = below.walk(ctx, v); err != nil || v.Leave == nil {
		return err
	}
	return v.Leave(r)
}

// below loads a page and returns its tree.
func (t Tree) below(ctx context.Context, r *PageRef) (Tree, error) {
	if err := r.Supported(); err != nil {
		return Tree{}, err
	}
	p, err := t.Load(ctx, r)
	if err != nil {
		return Tree{}, err
	}
	return Tree{p.Pages, p.Segments, t.Load}, nil
}

// SegmentsFrom yields the segments whose end is above an offset, in order. An error is yielded
// last. It does not load pages for which skip, unless nil, returns true.
func (t Tree) SegmentsFrom(ctx context.Context, from int64, skip func(r *PageRef) bool) iter.Seq2[*Segment, error] {
	return func(yield func(*Segment, error) bool) {
		err := t.Walk(ctx, Visitor{
			Enter: func(r *PageRef) (bool, error) { return r.EndOffset > from && (skip == nil || !skip(r)), nil },
			Segment: func(s *Segment) error {
				if s.EndOffset > from && !yield(s, nil) {
					return ErrStop
				}
				return nil
			},
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// Node is an entry on the path through a tree: one of the two is set.
type Node struct {
	Page    *PageRef
	Segment *Segment
}

// Head is where an entry begins.
type Head struct {
	StartOffset int64
	LeaderEpoch int32
}

// Path yields the entries on the path from the root to the last segment that is reached. An error
// is yielded last. reached is true for the heads of entries up to some offset, and false from there
// on. If no entry is reached there is no path.
func (t Tree) Path(ctx context.Context, reached func(h Head) bool) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		for at := t; ; {
			n, ok := at.last(reached)
			if !ok || !yield(n, nil) || n.Segment != nil {
				return
			}
			below, err := at.below(ctx, n.Page)
			if err != nil {
				yield(Node{}, err)
				return
			}
			at = below
		}
	}
}

// last returns the last entry that is reached.
func (t Tree) last(reached func(h Head) bool) (Node, bool) {
	i := sort.Search(len(t.Segments), func(i int) bool {
		return !reached(Head{t.Segments[i].StartOffset, t.Segments[i].FirstEpoch()})
	})
	if i > 0 {
		return Node{Segment: &t.Segments[i-1]}, true
	}
	i = sort.Search(len(t.Pages), func(i int) bool {
		return !reached(Head{t.Pages[i].StartOffset, t.Pages[i].FirstEpoch})
	})
	if i > 0 {
		return Node{Page: &t.Pages[i-1]}, true
	}
	return Node{}, false
}

// UpTo returns the function with which Path finds an offset.
func UpTo(offset int64) func(h Head) bool {
	return func(h Head) bool { return h.StartOffset <= offset }
}

// Find returns the segment whose range contains an offset. The caller knows that the tree has the
// offset: if it does not, Find returns ErrCorrupt.
func (t Tree) Find(ctx context.Context, offset int64) (*Segment, error) {
	for n, err := range t.Path(ctx, UpTo(offset)) {
		if err != nil {
			return nil, err
		}
		if s := n.Segment; s != nil && offset < s.EndOffset {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: no entry of the manifest has offset %d", ErrCorrupt, offset)
}

// EndOfEpoch finds the largest leader epoch that is not above the given one, and where it ends:
// where the next one starts, or the tree ends. Both are -1 if there is none. Epochs only grow
// along the log.
func (t Tree) EndOfEpoch(ctx context.Context, epoch int32) (found int32, end int64, err error) {
	found, end = -1, -1
	reached := func(h Head) bool { return h.LeaderEpoch <= epoch }
	for n, pathErr := range t.Path(ctx, reached) {
		switch {
		case pathErr != nil:
			return -1, -1, pathErr
		case n.Page != nil && n.Page.LastEpoch <= epoch:
			return n.Page.LastEpoch, n.Page.EndOffset, nil
		case n.Segment != nil:
			found, end = n.Segment.endOfEpoch(epoch)
		}
	}
	return found, end, nil
}

// endOfEpoch is EndOfEpoch of an entry whose first epoch is not above epoch.
func (s *Segment) endOfEpoch(epoch int32) (found int32, end int64) {
	found, end = s.FirstEpoch(), s.EndOffset
	for _, e := range s.Epochs[1:] {
		if e.LeaderEpoch() > epoch {
			return found, e.StartOffset()
		}
		found = e.LeaderEpoch()
	}
	return found, end
}
