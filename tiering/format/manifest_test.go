package format

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A checksum cannot notice a manifest that was written wrongly.
func TestManifestThatMakesNoSenseIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(m *Manifest){
		"gap":                func(m *Manifest) { m.Recent[1].StartOffset++; m.Recent[1].Name = testSegment(11, 30, 1, 1).Name },
		"overlap":            func(m *Manifest) { m.Recent[0].EndOffset++ },
		"end":                func(m *Manifest) { m.EndOffset++ },
		"start":              func(m *Manifest) { m.StartOffset = 10 },
		"name of another":    func(m *Manifest) { m.Recent[0].Name = m.Recent[1].Name },
		"no name":            func(m *Manifest) { m.Recent[0].Name = "" },
		"object size":        func(m *Manifest) { m.Recent[0].ObjectBytes = 1 << 50 },
		"object without end": func(m *Manifest) { m.Recent[0].ObjectBytes = m.Recent[0].Bytes + 10 },
		"no hot bytes":       func(m *Manifest) { m.Recent[0].HotBytes = 0 },
		"no epochs":          func(m *Manifest) { m.Recent[0].Epochs = nil },
		"epochs go back":     func(m *Manifest) { m.Recent[0].Epochs = []Epoch{{5, 0}, {4, 7}} },
		"trash":              func(m *Manifest) { m.Trash[0].Name = "" },
		"no sequence":        func(m *Manifest) { m.Sequence = 0 },
		"no attempt":         func(m *Manifest) { m.Attempt = "" },
		"negative":           func(m *Manifest) { m.StartOffset = -1 },
		"log start below":    func(m *Manifest) { m.LogStart = -1 },
		"log start above":    func(m *Manifest) { m.LogStart = 31 },
		"no oldest":          func(m *Manifest) { m.Oldest = nil },
		"oldest is gone":     func(m *Manifest) { m.Oldest.EndOffset = 0 },
		"empty with a size":  func(m *Manifest) { m.Recent, m.StartOffset, m.LogStart = nil, m.EndOffset, m.EndOffset },
		"page of no segments": func(m *Manifest) {
			m.Pages = []PageRef{{Name: "page/0-00000000000000000000-0000000000-a", EndOffset: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := twoSegments(t)
			spoil(p.m)
			b, _, err := p.m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err = ParseManifest(b); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
		})
	}
}

// A page must be the one that was sealed; it is not enough that it is sound.
func TestOtherPageIsRefused(t *testing.T) {
	p := fullManifest(t)
	ref, other := p.m.Pages[0], p.m.Pages[1]
	if _, err := ParsePage(p.objects[other.Name], &ref); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another page: %v, want ErrCorrupt", err)
	}
	for what, spoil := range map[string]func(r *PageRef){
		"another level": func(r *PageRef) { r.Level = 1 },
		"another start": func(r *PageRef) { r.StartOffset-- },
		"another end":   func(r *PageRef) { r.EndOffset++ },
	} {
		r := ref
		spoil(&r)
		if _, err := ParsePage(p.objects[ref.Name], &r); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	trash := p.m.TrashPages[0]
	trash.CRC32C++
	if _, err := ParseTrashPage(p.objects[trash.Name], &trash); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another trash page: %v, want ErrCorrupt", err)
	}
}

// An upload costs as much after 9,000 segments as after 2,000.
func TestUploadCostDoesNotGrowWithTheHistory(t *testing.T) {
	t.Parallel()
	p := &longPaper{paper: newPaper()}
	for i := range int64(9_000) {
		p.append(t, testSegment(i*10, i*10+10, 1000, i))
	}
	largest, late := p.written[0], 0
	for i, n := range p.written {
		if i < 2000 {
			largest = max(largest, n)
		} else {
			late = max(late, n)
		}
	}
	// Page references are added to the segments, and a page from time to time.
	if late > 2*largest || late > 200<<10 {
		t.Errorf("an upload writes up to %d bytes at first and %d later", largest, late)
	}
	if p.m.Segments != 9_000 || p.m.Bytes != 9_000*1000 {
		t.Errorf("manifest counts %d segments, %d bytes", p.m.Segments, p.m.Bytes)
	}
	if n := len(p.m.Pages) + len(p.m.Recent); n > 3*p.shape.Inline {
		t.Errorf("manifest has %d entries", n)
	}
}

// longPaper appends many segments, and encodes only some of the manifests: encoding thousands of
// them takes long.
type longPaper struct {
	*paper
	written []int
}

func (p *longPaper) append(t *testing.T, s Segment) {
	t.Helper()
	e := Edit{LeaderEpoch: 4}
	n := p.m.Next(e)
	n.Append(e, s)
	n.Trash = nil // as it is after the grace period
	sealed, err := n.Seal(p.shape, "a")
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, s := range sealed {
		p.objects[s.Name] = s.Content
		bytes += len(s.Content)
	}
	if p.m = n; bytes > 0 || n.Sequence < 200 || n.Sequence%40 == 0 {
		b, _, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.written = append(p.written, bytes+len(b))
	}
}

// The manifest stays small even if nothing can be deleted.
func TestTrashIsSealed(t *testing.T) {
	p := newPaper()
	p.shape = Shape{Inline: 6, Page: 3}
	p.edit(t, func(m *Manifest, e Edit) { m.Append(e, testSegment(0, 10, 1000, 1)) })
	for range 200 {
		p.edit(t, func(*Manifest, Edit) {})
		if len(p.m.Trash) > p.shape.Inline || len(p.m.TrashPages) > p.shape.Inline {
			t.Fatalf("the manifest has %d entries of trash and %d pages", len(p.m.Trash), len(p.m.TrashPages))
		}
	}
	if n := p.m.TrashEntries(); n != 200 {
		t.Errorf("it counts %d entries, want 200", n)
	}
	seen := map[string]bool{}
	p.eachTrash(t, func(t Trash) { seen[t.Name] = true })
	if len(seen) != 200 {
		t.Errorf("there are %d entries, want 200", len(seen))
	}
	// Deleted entries leave the manifest, and then so do the trash pages.
	for name := range seen {
		p.gone[name] = true
	}
	for _, r := range p.m.TrashPages {
		p.emptied[r.Name] = true
	}
	pages := len(p.m.TrashPages)
	p.edit(t, func(*Manifest, Edit) {})
	if n := p.m.TrashEntries(); n != int64(pages)+1 {
		t.Errorf("%d entries are left, want the %d pages and a manifest", n, pages)
	}
}

// eachTrash calls f for all trash, in the manifest and in trash pages.
func (p *paper) eachTrash(t fataler, f func(t Trash)) {
	var pages func(refs []TrashRef)
	pages = func(refs []TrashRef) {
		for _, r := range refs {
			page := p.trashPage(t, &r)
			pages(page.Pages)
			for _, trash := range page.Trash {
				f(trash)
			}
		}
	}
	pages(p.m.TrashPages)
	for _, trash := range p.m.Trash {
		f(trash)
	}
}

// The manifest's log start is the log's, limited to the range of the tier, and never goes back.
func TestLogStartStaysInTheTier(t *testing.T) {
	p := twoSegments(t)
	for _, c := range []struct{ log, want int64 }{{5, 5}, {3, 5}, {15, 15}, {99, 30}, {0, 30}} {
		n := p.m.Next(Edit{LogStart: c.log})
		if n.LogStart != c.want {
			t.Errorf("the log starts at %d, the manifest says %d, want %d", c.log, n.LogStart, c.want)
		}
		p.m = n
	}
	p.m.Append(Edit{LogStart: 99}, testSegment(30, 40, 1, 1))
	if p.m.LogStart != 40 {
		t.Errorf("with another segment it says %d, want 40", p.m.LogStart)
	}
	if err := p.m.Expire(t.Context(), Edit{}, 40, p.load); err != nil || p.m.LogStart != 40 {
		t.Errorf("of an empty tier it says %d, %v", p.m.LogStart, err)
	}
}

func TestPinsEnd(t *testing.T) {
	p := twoSegments(t)
	p.edit(t, func(m *Manifest, _ Edit) { m.Pins = []Pin{{ID: "a", UntilMs: 5}, {ID: "b", UntilMs: 9}} })
	if got := p.m.PinnedUntil(); got != 9 {
		t.Errorf("pinned until %d, want 9", got)
	}
	p.next = 5
	p.edit(t, func(*Manifest, Edit) {})
	if len(p.m.Pins) != 1 || p.m.PinnedUntil() != 9 {
		t.Errorf("pins are %+v", p.m.Pins)
	}
	p.next = 9
	p.edit(t, func(*Manifest, Edit) {})
	if p.m.PinnedUntil() != 0 {
		t.Errorf("pins are %+v", p.m.Pins)
	}
}

// Random uploads, cuts and retention are compared with a plain list of segments.
func TestManifestAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPaper()
		p.shape = Shape{Inline: 6, Page: 3} // for many levels
		model := &model{p: p, listed: map[string]bool{}, trash: map[string]bool{}}
		next := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 50).Draw(t, "uploads") {
				s := testSegment(next, next+1+next%7, 100+next%13, 1000+(next*7919)%1000)
				s.Name = Name{Kind: KindSegment, StartOffset: next, LeaderEpoch: 4, Attempt: fmt.Sprintf("%016x", p.next)}.String()
				if next%11 == 0 {
					s.MaxTimestamp = -1
				}
				next = s.EndOffset
				model.all, model.live = append(model.all, s), append(model.live, s)
				p.edit(t, func(m *Manifest, e Edit) { m.Append(e, s) })
				model.takeTrash(t)
			}
			if drop := rapid.IntRange(0, len(model.live)).Draw(t, "expire"); drop > 0 {
				start := model.live[drop-1].EndOffset
				p.edit(t, func(m *Manifest, e Edit) {
					if err := m.Expire(context.Background(), e, start, p.load); err != nil {
						t.Fatal(err)
					}
				})
				model.takeTrash(t)
				model.live = model.live[drop:]
			}
			model.compare(t)
			if len(model.live) > 0 && rapid.Bool().Draw(t, "cut") {
				next = model.cut(t, rapid.Int64Range(p.m.StartOffset, p.m.EndOffset-1).Draw(t, "cut at"))
				model.compare(t)
			}
		}
	})
}

// cut cuts both, and returns where the tier then ends.
func (m *model) cut(t *rapid.T, at int64) int64 {
	lineage, epoch := len(m.p.m.Lineage), m.p.m.LastEpoch
	m.p.edit(t, func(n *Manifest, e Edit) {
		e.LogStart, e.CutMs = at, e.NowMs+1000
		if err := n.Cut(context.Background(), e, at, m.p.load); err != nil {
			t.Fatal(err)
		}
	})
	if cuts := m.p.m.Lineage[lineage:]; len(cuts) != 1 || cuts[0].Offset != at || cuts[0].LeaderEpoch != epoch {
		t.Fatalf("cut at %d in epoch %d: it says %+v", at, epoch, cuts)
	}
	m.p.eachTrash(t, func(trash Trash) {
		if trash.Reason == ReasonCut && trash.AfterMs != trash.DeletedMs+1000 {
			t.Fatalf("%+v goes too soon", trash)
		}
	})
	m.takeTrash(t)
	of := func(all []Segment) (stay []Segment) {
		for _, s := range all {
			switch {
			case s.EndOffset <= at:
				stay = append(stay, s)
			case s.StartOffset < at:
				stay = append(stay, s.until(at))
			case !m.trash[s.Name]:
				t.Fatalf("segment %s is cut and is never deleted", s.Name)
			}
		}
		return stay
	}
	m.all, m.live = of(m.all), of(m.live)
	if m.p.m.EndOffset != at {
		t.Fatalf("cut at %d it ends at %d", at, m.p.m.EndOffset)
	}
	return at
}

// model is what the manifest has to contain.
type model struct {
	p         *paper
	all, live []Segment
	listed    map[string]bool // listed as trash
	trash     map[string]bool // listed as trash, or below a listed page
}

// takeTrash records what is trash, and takes some of it off the lists, like a leader that deletes
// it.
func (m *model) takeTrash(t *rapid.T) {
	deletes := rapid.IntRange(0, 3).Draw(t, "deletes") > 0
	m.p.eachTrash(t, func(trash Trash) {
		if m.p.gone[trash.Name] {
			t.Fatalf("%s is listed again", trash.Name)
		}
		if !m.listed[trash.Name] && m.trash[trash.Name] {
			t.Fatalf("%s is listed, and a page that it is in was before", trash.Name)
		}
		m.listed[trash.Name], m.trash[trash.Name] = true, true
		if trash.IsPage() {
			m.takeTree(t, trash)
		}
	})
	if !deletes {
		return
	}
	m.p.eachTrash(t, func(trash Trash) { m.p.gone[trash.Name] = true })
	for _, r := range m.p.m.TrashPages {
		m.p.emptied[r.Name] = true
	}
}

func (m *model) takeTree(t *rapid.T, trash Trash) {
	tree := Tree{Pages: []PageRef{trash.PageRef()}, Load: m.p.load}
	err := tree.Walk(context.Background(), Visitor{
		Segment: func(s *Segment) error { m.trash[s.Name] = true; return nil },
		Leave:   func(r *PageRef) error { m.trash[r.Name] = true; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) compare(t *rapid.T) {
	ctx := context.Background()
	tree := m.p.m.Tree(m.p.load)
	var got []Segment
	for s, err := range tree.SegmentsFrom(ctx, m.p.m.StartOffset, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, *s)
	}
	if !slices.EqualFunc(got, m.live, func(a, b Segment) bool { return a.Name == b.Name }) {
		t.Fatalf("manifest has %d segments, want %d", len(got), len(m.live))
	}
	size := int64(0)
	for _, s := range m.live {
		size += s.Bytes
		for _, offset := range []int64{s.StartOffset, s.EndOffset - 1} {
			found, err := tree.Find(ctx, offset)
			if err != nil || found.Name != s.Name {
				t.Fatalf("offset %d: %v, want %q", offset, err, s.Name)
			}
		}
		if m.trash[s.Name] {
			t.Fatalf("segment %s is trash, but has not expired", s.Name)
		}
	}
	if m.p.m.Segments != int64(len(m.live)) || m.p.m.Bytes != size {
		t.Fatalf("manifest counts %d segments and %d bytes, want %d and %d", m.p.m.Segments, m.p.m.Bytes, len(m.live), size)
	}
	if len(m.live) > 0 && *m.p.m.Oldest != *oldestOf(&m.live[0]) {
		t.Fatalf("oldest is %+v, want that of %+v", *m.p.m.Oldest, m.live[0])
	}
	if n := len(m.all); n > 0 && len(m.live) > 0 && (m.p.m.EndOffset != m.all[n-1].EndOffset || m.p.m.LastEpoch != m.all[n-1].LastEpoch()) {
		t.Fatalf("it ends at %d in epoch %d, want that of %+v", m.p.m.EndOffset, m.p.m.LastEpoch, m.all[n-1])
	}
	for _, s := range m.all[:len(m.all)-len(m.live)] {
		if !m.trash[s.Name] {
			t.Fatalf("segment %s has expired and is never deleted", s.Name)
		}
	}
	levels := map[int]int{}
	for _, ref := range m.p.m.Pages {
		if levels[ref.Level]++; levels[ref.Level] > m.p.shape.Inline {
			t.Fatalf("more than %d pages of level %d", m.p.shape.Inline, ref.Level)
		}
		if m.trash[ref.Name] {
			t.Fatalf("page %s is trash, but named", ref.Name)
		}
	}
}

// TestOutlineHasNoEntries checks that an outline has the manifest's own members, and is never taken
// for the whole manifest.
func TestOutlineHasNoEntries(t *testing.T) {
	m := twoSegments(t).m
	m.Recent[1].UploadedMs += 1000
	object := Stored{Name: m.Name(), Size: 7, CRC32C: 9}
	o := m.Outline(object)
	if got, ok := o.Outlined(); !ok || got != object || o.Outline(Stored{}) != o {
		t.Errorf("it is an outline of %+v, %t", got, ok)
	}
	if _, ok := m.Outlined(); ok || len(m.Recent) != 2 {
		t.Error("the manifest has become one")
	}
	if o.Empty() || o.Name() != m.Name() || o.EndOffset != m.EndOffset || o.LastUploadedMs() != m.LastUploadedMs() || o.Cost() >= m.Cost() {
		t.Errorf("it is %+v", o)
	}
	content, stored, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseOutline(content, stored)
	if err != nil || !reflect.DeepEqual(parsed, m.Outline(stored)) {
		t.Errorf("parsed it is %+v, %v; want %+v", parsed, err, m.Outline(stored))
	}
	if none := (&Manifest{Sequence: 1}).Outline(object); !none.Empty() {
		t.Error("one of nothing is not empty")
	}
	for name, use := range map[string]func(){
		"Tree": func() { o.Tree(nil) }, "Next": func() { o.Next(Edit{}) }, "Encode": func() { _, _, _ = o.Encode() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of an outline", name)
				}
			}()
			use()
		}()
	}
}
