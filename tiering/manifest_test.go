package tiering

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
)

// paper is a manifest with its pages, without a bucket.
type paper struct {
	m     *manifest
	pages map[string][]byte
	read  map[string]*page // pages that were decoded before
	shape shape
	next  int

	listed map[string]bool // that was ever on the deletion list
}

func newPaper() *paper {
	return &paper{shape: New(Options{}).shape, m: &manifest{ClusterID: "cluster", Topic: "orders", TopicID: metadata.TopicID{1, 2, 3}}, pages: map[string][]byte{}, read: map[string]*page{}, listed: map[string]bool{}}
}

func (p *paper) load(_ context.Context, ref pageRef) (*page, error) {
	if pg := p.read[ref.Name]; pg != nil {
		return pg, nil
	}
	b, ok := p.pages[ref.Name]
	if !ok {
		return nil, fmt.Errorf("%w: no page %s", ErrCorrupt, ref.Name)
	}
	pg, err := parsePage(b, ref)
	p.read[ref.Name] = pg
	return pg, err
}

// edit makes the next version, as partition.commit does, and returns how many
// bytes it had to write.
func (p *paper) edit(t interface{ Fatal(args ...any) }, change func(m *manifest)) int {
	p.next++
	n := p.m.next(4, 1, int64(p.next), int64(p.next)+60_000, nil)
	change(n)
	written := 0
	for _, s := range n.seal(p.shape, fmt.Sprintf("%016x", p.next)) {
		b, err := s.page.encode()
		if err != nil {
			t.Fatal(err)
		}
		p.pages[s.name] = b
		written += len(b)
	}
	p.m = n
	if written == 0 && p.next > 200 && p.next%40 != 0 {
		return 0 // encoding thousands of them takes long
	}
	b, err := n.encode()
	if err != nil {
		t.Fatal(err)
	}
	if p.m, err = parseManifest(b); err != nil {
		t.Fatal(err)
	}
	return written + len(b)
}

func testSegment(start, end, bytes, ts int64) segment {
	return segment{
		Name:       objectName{kind: kindSegment, start: start, epoch: 4, attempt: "00112233aabbccdd"}.String(),
		BaseOffset: start, StartOffset: start, EndOffset: end, MaxTimestamp: ts, Bytes: bytes, ObjectBytes: bytes + 1000,
		ChunkBytes: 4 << 20, FooterBytes: footerSize, Epochs: []epochPair{{start / 100, start}}, UploadedMs: 1_700_000_000_000, UploaderEpoch: 4,
	}
}

func TestManifestIsGolden(t *testing.T) {
	p := newPaper()
	p.edit(t, func(m *manifest) { m.append(testSegment(0, 10, 1000, 77)) })
	p.edit(t, func(m *manifest) { m.append(testSegment(10, 30, 2000, 99)) })
	got, err := p.m.encode()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("VARVE_REWRITE") != "" {
		if err = os.WriteFile("testdata/manifest", got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/manifest")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("manifest has changed:\n%s", got)
	}
}

func TestManifestNoticesDamage(t *testing.T) {
	good, err := os.ReadFile("testdata/manifest")
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 7)
		if _, err = parseManifest(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupportedFormat) {
			t.Fatalf("flip in byte %d: %v", i, err)
		}
		if _, err = parseManifest(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
	}
	for version, want := range map[string]string{"3": "upgrade this broker", "1": "unreleased build"} {
		other := bytes.Replace(good, []byte("varve-manifest 2 "), []byte("varve-manifest "+version+" "), 1)
		if _, err = parseManifest(other); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), want) {
			t.Fatalf("version %s: %v", version, err)
		}
	}
}

// What a checksum cannot notice: a manifest that was written wrongly.
func TestManifestThatMakesNoSenseIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(m *manifest){
		"gap":               func(m *manifest) { m.Recent[1].StartOffset++; m.Recent[1].Name = testSegment(11, 30, 1, 1).Name },
		"overlap":           func(m *manifest) { m.Recent[0].EndOffset++ },
		"end":               func(m *manifest) { m.EndOffset++ },
		"start":             func(m *manifest) { m.StartOffset = 10 },
		"name":              func(m *manifest) { m.Recent[0].Name = "../../other" },
		"name of another":   func(m *manifest) { m.Recent[0].Name = m.Recent[1].Name },
		"location":          func(m *manifest) { m.Recent[0].Location = "s3://elsewhere" },
		"object size":       func(m *manifest) { m.Recent[0].ObjectBytes = 1 << 50 },
		"no epochs":         func(m *manifest) { m.Recent[0].Epochs = nil },
		"deletion":          func(m *manifest) { m.Deletions[0].Name = "x" },
		"no sequence":       func(m *manifest) { m.Sequence = 0 },
		"negative":          func(m *manifest) { m.StartOffset = -1 },
		"empty with a size": func(m *manifest) { m.Recent, m.StartOffset = nil, m.EndOffset },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPaper()
			p.edit(t, func(m *manifest) { m.append(testSegment(0, 10, 1000, 77)) })
			p.edit(t, func(m *manifest) { m.append(testSegment(10, 30, 2000, 99)) })
			spoil(p.m)
			b, err := p.m.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err = parseManifest(b); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
		})
	}
}

// An upload costs as much after 9,000 segments as after 2,000.
func TestUploadCostDoesNotGrowWithTheHistory(t *testing.T) {
	t.Parallel()
	p := newPaper()
	largest, late := 0, 0
	for i := range int64(9_000) {
		n := p.edit(t, func(m *manifest) {
			m.Deletions = nil // as it is when the grace is over
			m.append(testSegment(i*10, i*10+10, 1000, i))
		})
		if i < 2000 {
			largest = max(largest, n)
		} else {
			late = max(late, n)
		}
	}
	// Page references come on top of the segments, and a page now and then.
	if late > 2*largest || late > 160<<10 {
		t.Errorf("an upload writes up to %d bytes at first and %d later", largest, late)
	}
	if p.m.Segments != 9_000 || p.m.Bytes != 9_000*1000 {
		t.Errorf("manifest counts %d segments, %d bytes", p.m.Segments, p.m.Bytes)
	}
	if n := len(p.m.Pages) + len(p.m.Recent); n > 3*p.shape.inline {
		t.Errorf("manifest has %d entries", n)
	}
}

// Random uploads and retention against a plain list of segments.
func TestManifestAgainstAModel(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		p := newPaper()
		p.shape = shape{inline: 6, page: 3} // many levels
		var all []segment                   // ever appended
		var live []segment
		deleted := map[string]bool{}
		next := int64(0)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(0, 80).Draw(t, "uploads") {
				s := testSegment(next, next+1+next%7, 100+next%13, 1000+(next*7919)%1000)
				next = s.EndOffset
				all, live = append(all, s), append(live, s)
				p.edit(t, func(m *manifest) { m.append(s) })
				queue(t, p, deleted)
			}
			if drop := rapid.IntRange(0, len(live)).Draw(t, "expire"); drop > 0 {
				start := live[drop-1].EndOffset
				p.edit(t, func(m *manifest) {
					if err := m.expire(ctx, start, 1, p.load); err != nil {
						t.Fatal(err)
					}
				})
				queue(t, p, deleted)
				live = live[drop:]
			}
			compare(t, p, live, all, deleted) //nolint:contextcheck // rapid has no context to give
		}
	})
}

// queue notes what the deletion list says and takes it off, as a deletion does.
func queue(t *rapid.T, p *paper, deleted map[string]bool) {
	var tree func(name string)
	tree = func(name string) {
		deleted[name] = true
		pg := page{}
		if b, ok := p.pages[name]; ok && openDocument(pageFormat, b, &pg) == nil {
			for _, s := range pg.Segments {
				tree(s.Name)
			}
			for _, r := range pg.Pages {
				tree(r.Name)
			}
		}
	}
	for _, d := range p.m.Deletions {
		if p.listed[d.Name] {
			t.Fatalf("%s is put on the deletion list again", d.Name)
		}
		p.listed[d.Name] = true
		tree(d.Name)
	}
	p.m.Deletions = nil
}

func compare(t *rapid.T, p *paper, live, all []segment, deleted map[string]bool) {
	ctx := context.Background()
	var got []segment
	for s, err := range p.m.segmentsFrom(ctx, 0, p.load, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if !slices.EqualFunc(got, live, func(a, b segment) bool { return a.Name == b.Name }) {
		t.Fatalf("manifest has %d segments, want %d", len(got), len(live))
	}
	size := int64(0)
	for _, s := range live {
		size += s.Bytes
		for _, offset := range []int64{s.StartOffset, s.EndOffset - 1} {
			found, err := p.m.locate(ctx, offset, p.load)
			if err != nil || found.Name != s.Name {
				t.Fatalf("offset %d is in %q (%v), want %q", offset, found.Name, err, s.Name)
			}
		}
	}
	if p.m.Segments != int64(len(live)) || p.m.Bytes != size {
		t.Fatalf("manifest counts %d segments and %d bytes, want %d and %d", p.m.Segments, p.m.Bytes, len(live), size)
	}
	for _, s := range all[:len(all)-len(live)] {
		if !deleted[s.Name] {
			t.Fatalf("segment %s has expired and is never deleted", s.Name)
		}
	}
	for _, s := range live {
		if deleted[s.Name] {
			t.Fatalf("segment %s is deleted, but has not expired", s.Name)
		}
	}
	levels := map[int]int{}
	for _, ref := range p.m.Pages {
		if levels[ref.Level]++; levels[ref.Level] > p.shape.inline {
			t.Fatalf("more than %d pages of level %d", p.shape.inline, ref.Level)
		}
		if deleted[ref.Name] {
			t.Fatalf("page %s is deleted, but named", ref.Name)
		}
	}
	if _, err := p.m.locate(ctx, p.m.EndOffset, p.load); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("the end: %v", err)
	}
	if _, err := p.m.locate(ctx, p.m.StartOffset-1, p.load); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("below the start: %v", err)
	}
}

func TestNamesReadWhatTheyWrote(t *testing.T) {
	for _, n := range []objectName{
		{kind: kindSegment, start: 1 << 60, epoch: 1<<31 - 1, attempt: "00112233aabbccdd"},
		{kind: kindPage, level: 3, start: 5, epoch: 0, attempt: "x"},
		{kind: kindManifest, epoch: 9, sequence: 1 << 62},
	} {
		if got, ok := parseName(n.String()); !ok || got != n {
			t.Errorf("%s reads as %+v", n, got)
		}
	}
	for _, s := range []string{
		"", "x", ".segment", "1-2-3.segment", "manifest/1-2", "manifest/", "page/1-2-3", "manifest/-000000001-00000000000000000001",
		"00000000000000000000-9999999999-a.segment", "page/300-00000000000000000000-0000000000-a",
	} {
		if n, ok := parseName(s); ok {
			t.Errorf("%q reads as %+v", s, n)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	good, err := os.ReadFile("testdata/manifest")
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(good, []byte("\n"))
	f.Add(body)
	f.Add([]byte(`{"sequence":1}`))
	// The fuzzer cannot guess a checksum, so it gets to write what is below one.
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = parseManifest(body)
		_, _ = parsePointer(body)
		_, _ = parsePage(body, pageRef{})
		b, err := sealDocument(manifestFormat, json.RawMessage(body))
		if err != nil {
			return
		}
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		if b, err = m.encode(); err != nil {
			t.Fatal(err)
		}
		if _, err = parseManifest(b); err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		for _, offset := range []int64{m.StartOffset, m.EndOffset - 1, m.EndOffset} {
			_, _ = m.find(offset)
		}
	})
}
