package format

import (
	"context"
	"encoding/json"
	"os"
	"testing"
)

// The fuzzer cannot guess a checksum, so it writes the content below the checksum.
func FuzzDocuments(f *testing.F) {
	for name := range goldenDocuments(f) {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		if d, ok := DocumentOf(b); ok {
			if b, err = d.Unwrap(b); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b)
	}
	f.Add([]byte(`{"sequence":1,"attempt":"a"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = DocumentManifest.fuzz(body)
		wrapped := func(d Document) []byte {
			if !json.Valid(body) {
				return body
			}
			b, err := d.Wrap(body)
			if err != nil {
				t.Skip()
			}
			return b
		}
		if m, err := ParseManifest(wrapped(DocumentManifest)); err == nil {
			fuzzManifest(t, m)
			fuzzOutline(t, m, wrapped(DocumentManifest))
		}
		if p, err := ParsePointer(body); err == nil {
			again(t, p.Encode, func(b []byte) error { _, err := ParsePointer(b); return err })
		}
		if p, err := OpenPage(wrapped(DocumentPage)); err == nil {
			ref := p.Ref("page/0-00000000000000000000-0000000000-a", nil)
			next := int64(-1)
			_ = ref.check(&next)
			again(t, p.Encode, func(b []byte) error { _, err := OpenPage(b); return err })
		}
		if p, err := OpenTrashPage(wrapped(DocumentTrash)); err == nil {
			_ = p.Ref("", nil)
			again(t, p.Encode, func(b []byte) error { _, err := OpenTrashPage(b); return err })
		}
		if b, err := ParseBucket(wrapped(DocumentBucket)); err == nil {
			again(t, b.Encode, func(b []byte) error { _, err := ParseBucket(b); return err })
		}
		if p, err := ParseTopic(wrapped(DocumentTopic)); err == nil {
			again(t, p.Encode, func(b []byte) error { _, err := ParseTopic(b); return err })
		}
		if p, err := ParseOrphan(wrapped(DocumentOrphan)); err == nil {
			again(t, p.Encode, func(b []byte) error { _, err := ParseOrphan(b); return err })
		}
	})
}

// fuzz decodes bytes as they are.
func (d Document) fuzz(b []byte) error {
	_, _ = DocumentOf(b)
	_, err := d.Unwrap(b)
	return err
}

// again encodes what was decoded, unless it must not be written, and decodes the result.
func again(t *testing.T, encode func() ([]byte, error), decode func(b []byte) error) {
	t.Helper()
	b, err := encode()
	if err != nil {
		return // it has features
	}
	if err = decode(b); err != nil {
		t.Fatalf("what was read cannot be written and read again: %v", err)
	}
}

func fuzzManifest(t *testing.T, m *Manifest) {
	t.Helper()
	again(t, func() ([]byte, error) { b, _, err := m.Encode(); return b, err }, func(b []byte) error { _, err := ParseManifest(b); return err })
	load := func(context.Context, *PageRef) (*Page, error) { return nil, ErrCorrupt }
	for _, offset := range []int64{m.StartOffset, m.EndOffset - 1, m.EndOffset} {
		if s, err := m.Tree(load).Find(t.Context(), offset); err == nil && (offset < s.StartOffset || offset >= s.EndOffset) {
			t.Fatalf("offset %d is in [%d, %d)", offset, s.StartOffset, s.EndOffset)
		}
	}
	_, _, _ = m.Tree(load).EndOfEpoch(t.Context(), 1)
	_ = m.Tree(load).Walk(t.Context(), Visitor{})
	e := Edit{LeaderEpoch: m.LeaderEpoch, Current: Stored{Name: m.Name(), Size: 1}}
	n := m.Next(e)
	if m.EndOffset < 1<<60 {
		n.Append(e, testSegment(m.EndOffset, m.EndOffset+1, 1, 1))
	}
	if _, err := n.Seal(DefaultShape, "a"); err != nil {
		return
	}
	_ = n.Expire(t.Context(), e, m.StartOffset, load)
}

func FuzzIndex(f *testing.F) {
	f.Add(goldenEnd(f, nil), uint32(goldenLogBytes))
	f.Add(hotOf(f, goldenEnd(f, nil)), uint32(goldenLogBytes))
	f.Add([]byte(objectMagic), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, before uint32) {
		_, _ = parseDirectory(b)
		_, _ = parseDescription(b)
		_, _ = ParseEpochs(b)
		x, err := ParseIndex(b, int64(before)+int64(len(b)))
		if err != nil {
			return
		}
		for _, offset := range []int64{0, x.Description.StartOffset, x.Description.EndOffset, 1 << 62} {
			if i := x.Chunks.AtOffset(offset); i < 0 || i >= len(x.Chunks) {
				t.Fatalf("offset %d is in chunk %d of %d", offset, i, len(x.Chunks))
			}
			_ = x.Chunks.AtTime(offset)
		}
	})
}

// fuzzOutline checks that an outline matches its manifest, in whichever of the two ways it is made.
func fuzzOutline(t *testing.T, m *Manifest, content []byte) {
	t.Helper()
	o, err := ParseOutline(content, Stored{})
	if err != nil {
		t.Fatalf("outline of a manifest that is well: %v", err)
	}
	want := m.Outline(Stored{})
	want.unknown = o.unknown
	wantTime := want.LastUploadedMs()
	if o.LastUploadedMs() != wantTime {
		t.Fatalf("the last upload was at %d, want %d", o.LastUploadedMs(), wantTime)
	}
	if o.Name() != want.Name() || o.StartOffset != want.StartOffset || o.EndOffset != want.EndOffset || o.LogStart != want.LogStart ||
		o.Empty() != want.Empty() || o.TrashEntries() != want.TrashEntries() || o.TopicID != want.TopicID {
		t.Fatalf("the outline is %+v, want %+v", o, want)
	}
}
