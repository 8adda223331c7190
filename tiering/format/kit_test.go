package format

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/varvelog/varve/metadata"
)

// fataler is implemented by both kinds of tests.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// paper is a manifest with its pages, without a bucket.
type paper struct {
	m       *Manifest
	current Stored
	objects map[string][]byte
	shape   Shape
	next    int64

	gone, emptied map[string]bool // deleted trash, and trash pages whose trash is all deleted
	pages         map[string]*Page
	trash         map[string]*TrashPage
}

func newPaper() *paper {
	return &paper{
		shape: DefaultShape, objects: map[string][]byte{}, gone: map[string]bool{}, emptied: map[string]bool{},
		pages: map[string]*Page{}, trash: map[string]*TrashPage{},
		m: &Manifest{ClusterID: "cluster", Topic: "orders", TopicID: metadata.TopicID{1, 2, 3}, Partition: 7, LastEpoch: -1},
	}
}

// load is the paper's Loader.
func (p *paper) load(_ context.Context, ref *PageRef) (page *Page, err error) {
	if page = p.pages[ref.Name]; page != nil {
		return page, nil
	}
	b, ok := p.objects[ref.Name]
	if !ok {
		return nil, fmt.Errorf("%w: no page %s", ErrCorrupt, ref.Name)
	}
	page, err = ParsePage(b, ref)
	p.pages[ref.Name] = page
	return page, err
}

// trashPage returns a trash page.
func (p *paper) trashPage(t fataler, ref *TrashRef) *TrashPage {
	t.Helper()
	if p.trash[ref.Name] == nil {
		page, err := ParseTrashPage(p.objects[ref.Name], ref)
		if err != nil {
			t.Fatalf("trash page: %v", err)
		}
		p.trash[ref.Name] = page
	}
	return p.trash[ref.Name]
}

// edit makes the next version, as a leader's commit does, and returns how many bytes it had to
// write.
func (p *paper) edit(t fataler, change func(m *Manifest, e Edit)) int {
	t.Helper()
	p.next++
	e := Edit{
		BrokerID: 1, LeaderEpoch: 4, NowMs: p.next, DeleteMs: p.next + 60_000, Current: p.current,
		Gone: p.gone, Emptied: p.emptied,
	}
	n := p.m.Next(e)
	n.Attempt = fmt.Sprintf("%016x", p.next)
	change(n, e)
	sealed, err := n.Seal(p.shape, n.Attempt)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	written := 0
	for _, s := range sealed {
		p.objects[s.Name] = s.Content
		written += len(s.Content)
	}
	b, stored, err := n.Encode()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	p.objects[stored.Name] = b
	p.current = stored
	if p.m, err = ParseManifest(b); err != nil {
		t.Fatalf("what was encoded is refused: %v", err)
	}
	return written + len(b)
}

// testSegment returns an entry for the offsets from start to end (exclusive).
func testSegment(start, end, size, ts int64) Segment {
	return Segment{
		Name:       Name{Kind: KindSegment, StartOffset: start, LeaderEpoch: 4, Attempt: "00112233aabbccdd"}.String(),
		BaseOffset: start, StartOffset: start, EndOffset: end, MinTimestamp: ts - 1, MaxTimestamp: ts,
		Bytes: size, ObjectBytes: size + 1000, HotBytes: 500, CRC32C: 0xdecafbad, Records: end - start, Batches: 1,
		Epochs: []Epoch{{start / 100, start}}, UploadedMs: 1_700_000_000_000, UploaderEpoch: 4,
	}
}

// twoSegments returns a manifest of two segments.
func twoSegments(t fataler) *paper {
	t.Helper()
	p := newPaper()
	p.edit(t, func(m *Manifest, e Edit) { m.Append(e, testSegment(0, 10, 1000, 77)) })
	p.edit(t, func(m *Manifest, e Edit) { m.Append(e, testSegment(10, 30, 2000, 99)) })
	return p
}

// rewritten returns a document whose JSON a newer build has changed.
func rewritten(t *testing.T, d Document, b []byte, change func(v map[string]any)) []byte {
	t.Helper()
	body, err := d.Unwrap(b)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = d.Wrap(changed(t, body, change)); err != nil {
		t.Fatal(err)
	}
	return b
}

// changed returns JSON with a change.
func changed(t *testing.T, body []byte, change func(v map[string]any)) []byte {
	t.Helper()
	var v map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	change(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// first returns the first element of an array.
func first(v any) map[string]any { return v.([]any)[0].(map[string]any) }

// know makes a feature one that this build knows, until the test ends. Tests that run in parallel
// cannot use it.
func know(t *testing.T, feature string) {
	t.Helper()
	before := known
	known = append([]string{feature}, known...)
	t.Cleanup(func() { known = before })
}

func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupportedFormat)
}
