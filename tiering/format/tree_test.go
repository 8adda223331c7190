package format

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// grove is a random tree, and the list of its segments.
type grove struct {
	Tree
	all   []Segment
	pages map[string]*Page
	loads int
}

// drawGrove builds a tree from the bottom up: runs of entries become pages, or stay for the root.
func drawGrove(t *rapid.T) *grove {
	g := &grove{pages: map[string]*Page{}}
	g.Load = func(_ context.Context, ref *PageRef) (*Page, error) {
		g.loads++
		return g.pages[ref.Name], nil
	}
	offset, epoch := rapid.Int64Range(0, 5).Draw(t, "start"), int64(0)
	for range rapid.IntRange(1, 40).Draw(t, "segments") {
		s := testSegment(offset, offset+rapid.Int64Range(1, 9).Draw(t, "size"), 100, rapid.Int64Range(-1, 50).Draw(t, "time"))
		s.Epochs = nil
		for at := offset; at < s.EndOffset; at++ {
			if at == offset || rapid.IntRange(0, 4).Draw(t, "epoch ends") == 0 {
				if rapid.Bool().Draw(t, "epoch grows") || at > offset {
					epoch += rapid.Int64Range(1, 3).Draw(t, "epochs")
				}
				s.Epochs = append(s.Epochs, Epoch{epoch, at})
			}
		}
		g.all = append(g.all, s)
		offset = s.EndOffset
	}
	g.Segments = slices.Clone(g.all)
	for level := range rapid.IntRange(0, 4).Draw(t, "levels") {
		g.plantLevel(t, level)
	}
	return g
}

// plantLevel moves the oldest entries of a level into pages.
func (g *grove) plantLevel(t *rapid.T, level int) {
	for {
		page := &Page{Level: level}
		first := slices.IndexFunc(g.Pages, func(r PageRef) bool { return r.Level == level-1 })
		size := rapid.IntRange(0, 5).Draw(t, "entries")
		if level == 0 {
			if size = min(size, len(g.Segments)); size == 0 {
				return
			}
			page.Segments, g.Segments = slices.Clone(g.Segments[:size]), g.Segments[size:]
			g.Pages = append(g.Pages, g.plant(page))
			continue
		}
		if first < 0 || size == 0 {
			return
		}
		last := first
		for last < len(g.Pages) && last-first < size && g.Pages[last].Level == level-1 {
			last++
		}
		page.Pages = slices.Clone(g.Pages[first:last])
		g.Pages = slices.Replace(g.Pages, first, last, g.plant(page))
	}
}

func (g *grove) plant(p *Page) PageRef {
	r := p.Ref("", []byte("x"))
	r.Name = Name{Kind: KindPage, Level: p.Level, StartOffset: r.StartOffset, Attempt: "a"}.String()
	g.pages[r.Name] = p
	return r
}

func TestTreeAgainstAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := drawGrove(t)
		ctx := context.Background()
		g.checkWalk(ctx, t)
		g.checkPaths(ctx, t)
		g.checkEpochs(ctx, t)
		g.checkSummaries(ctx, t)
	})
}

func names(segments []Segment) (out []string) {
	for i := range segments {
		out = append(out, segments[i].Name)
	}
	return out
}

// checkWalk checks walks with and without a limit, and which pages they load.
func (g *grove) checkWalk(ctx context.Context, t *rapid.T) {
	var got []string
	depth, deepest := 0, 0
	err := g.Walk(ctx, Visitor{
		Enter:   func(*PageRef) (bool, error) { depth++; deepest = max(deepest, depth); return true, nil },
		Segment: func(s *Segment) error { got = append(got, s.Name); return nil },
		Leave:   func(*PageRef) error { depth--; return nil },
	})
	if err != nil || !slices.Equal(got, names(g.all)) || depth != 0 || g.loads != len(g.pages) {
		t.Fatalf("a walk sees %d of %d segments, ends at depth %d after %d loads of %d pages, %v", len(got), len(g.all), depth, g.loads, len(g.pages), err)
	}
	i := rapid.IntRange(0, len(g.all)-1).Draw(t, "from segment")
	from := rapid.Int64Range(g.all[i].StartOffset, g.all[i].EndOffset-1).Draw(t, "from")
	g.loads, got = 0, nil
	for s, err := range g.SegmentsFrom(ctx, from, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Name)
	}
	if !slices.Equal(got, names(g.all[i:])) {
		t.Fatalf("from offset %d on there are %d segments, want %d", from, len(got), len(g.all)-i)
	}
	dead := 0
	for _, p := range g.pages {
		if r := p.Ref("", nil); r.EndOffset <= from {
			dead++
		}
	}
	if g.loads != len(g.pages)-dead {
		t.Fatalf("from offset %d on %d pages are loaded, want %d", from, g.loads, len(g.pages)-dead)
	}
	// A walk that ends early loads only what it needs.
	g.loads = 0
	for s, err := range g.SegmentsFrom(ctx, from, nil) {
		if err != nil || s.Name != g.all[i].Name {
			t.Fatalf("the first segment from offset %d on is %+v, %v", from, s, err)
		}
		break
	}
	if g.loads > 5 {
		t.Fatalf("the first segment takes %d loads", g.loads)
	}
	// Pages that are skipped are not loaded.
	g.loads = 0
	for _, err := range g.SegmentsFrom(ctx, from, func(*PageRef) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if g.loads != 0 {
		t.Fatalf("%d pages are loaded that are to be skipped", g.loads)
	}
	failed := errors.New("no")
	if err = g.Walk(ctx, Visitor{Segment: func(*Segment) error { return failed }}); !errors.Is(err, failed) {
		t.Fatalf("the error of a visitor is %v", err)
	}
}

// checkPaths finds each offset, on a path with one page a level.
func (g *grove) checkPaths(ctx context.Context, t *rapid.T) {
	i := rapid.IntRange(0, len(g.all)-1).Draw(t, "segment")
	offset := rapid.Int64Range(g.all[i].StartOffset, g.all[i].EndOffset-1).Draw(t, "offset")
	level := 100
	var leaf *Segment
	for n, err := range g.Path(ctx, UpTo(offset)) {
		switch {
		case err != nil || leaf != nil:
			t.Fatalf("the way to offset %d: %v, %v", offset, n, err)
		case n.Segment != nil:
			leaf = n.Segment
		case n.Page.Level >= level || n.Page.StartOffset > offset || n.Page.EndOffset <= offset:
			t.Fatalf("the way to offset %d leads over %+v", offset, n.Page)
		default:
			level = n.Page.Level
		}
	}
	if leaf == nil || leaf.Name != g.all[i].Name {
		t.Fatalf("the way to offset %d ends at %v, want %q", offset, leaf, g.all[i].Name)
	}
	if s, err := g.Find(ctx, offset); err != nil || s != leaf {
		t.Fatalf("offset %d is in %v, %v", offset, s, err)
	}
	for _, outside := range []int64{g.all[0].StartOffset - 1, g.all[len(g.all)-1].EndOffset} {
		if _, err := g.Find(ctx, outside); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("offset %d, which the tree has not: %v", outside, err)
		}
	}
}

// checkEpochs compares with the list of all epochs.
func (g *grove) checkEpochs(ctx context.Context, t *rapid.T) {
	var epochs []Epoch
	for _, s := range g.all {
		for _, e := range s.Epochs {
			if len(epochs) == 0 || epochs[len(epochs)-1][0] < e[0] {
				epochs = append(epochs, e)
			}
		}
	}
	epoch := rapid.Int32Range(-1, epochs[len(epochs)-1].LeaderEpoch()+2).Draw(t, "epoch")
	want, wantEnd := int32(-1), int64(-1)
	for i, e := range epochs {
		if e.LeaderEpoch() <= epoch {
			want, wantEnd = e.LeaderEpoch(), g.all[len(g.all)-1].EndOffset
			if i+1 < len(epochs) {
				wantEnd = epochs[i+1].StartOffset()
			}
		}
	}
	if got, end, err := g.EndOfEpoch(ctx, epoch); err != nil || got != want || end != wantEnd {
		t.Fatalf("epoch %d: %d ends at %d, %v; want %d at %d", epoch, got, end, err, want, wantEnd)
	}
}

// checkSummaries compares what references say with what is below them.
func (g *grove) checkSummaries(ctx context.Context, t *rapid.T) {
	for _, root := range g.Pages {
		want, first := PageRef{}, true
		err := Tree{Pages: []PageRef{root}, Load: g.Load}.Walk(ctx, Visitor{Segment: func(s *Segment) error {
			if first {
				want.StartOffset, want.FirstEpoch, want.MinMaxTimestamp, want.MaxTimestamp = s.StartOffset, s.FirstEpoch(), s.MaxTimestamp, s.MaxTimestamp
				want.FirstEnd, want.FirstTime, want.FirstBytes = s.EndOffset, s.RetentionTime(), s.Bytes
			}
			first = false
			want.EndOffset, want.LastEpoch = s.EndOffset, s.LastEpoch()
			want.MinMaxTimestamp, want.MaxTimestamp = min(want.MinMaxTimestamp, s.MaxTimestamp), max(want.MaxTimestamp, s.MaxTimestamp)
			want.Segments++
			want.Bytes += s.Bytes
			return nil
		}})
		want.Name, want.Level, want.Size, want.CRC32C = root.Name, root.Level, root.Size, root.CRC32C
		if got, expect := fmt.Sprintf("%+v", root), fmt.Sprintf("%+v", want); err != nil || got != expect {
			t.Fatalf("page is summed up as\n%s, want\n%s, %v", got, expect, err)
		}
	}
}

// A page that cannot be loaded ends the walk. A page that is not supported is not loaded.
func TestPageThatCannotBeLoaded(t *testing.T) {
	p := fullManifest(t)
	gone := errors.New("gone")
	tree := p.m.Tree(func(context.Context, *PageRef) (*Page, error) { return nil, gone })
	var got error
	for _, err := range tree.SegmentsFrom(t.Context(), 0, nil) {
		got = err
	}
	if !errors.Is(got, gone) {
		t.Errorf("segments: %v", got)
	}
	if _, err := tree.Find(t.Context(), 0); !errors.Is(err, gone) {
		t.Errorf("find: %v", err)
	}
	// The manifest itself has the newest epoch.
	if _, _, err := tree.EndOfEpoch(t.Context(), 0); err != nil {
		t.Errorf("end of epoch: %v", err)
	}
	tree.Pages[0].Read = []string{"warp"}
	if err := tree.Walk(t.Context(), Visitor{}); !errors.Is(err, ErrUnsupportedFormat) {
		t.Errorf("walk: %v, want ErrUnsupportedFormat", err)
	}
}
