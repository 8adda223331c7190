package format

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

const later = "later"

// addEverywhere adds a member that no build knows to each object, and returns how many it added. It
// skips the previous manifest and the oldest segment: the next version has others.
func addEverywhere(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if !slices.Contains([]string{"prev", "oldest", "configs", "compaction", "key"}, name) {
				n += addEverywhere(member)
			}
		}
		v[later] = map[string]any{"a": []any{"}", 1}}
		n++
	case []any:
		for _, element := range v {
			n += addEverywhere(element)
		}
	}
	return n
}

func TestUnknownMembersAreKept(t *testing.T) {
	good := goldenDocuments(t)
	added := 0
	add := func(v map[string]any) { added = addEverywhere(v) }
	check := func(name string, again []byte, err error) {
		t.Helper()
		if kept := bytes.Count(again, []byte(`"later":{"a":["}",1]}`)); err != nil || kept != added || added == 0 {
			t.Errorf("%s: %d of %d unknown members are kept, %v", name, kept, added, err)
		}
	}

	m, err := ParseManifest(rewritten(t, DocumentManifest, good["manifest"], add))
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := m.Encode()
	check("manifest", again, err)

	ptr, err := ParsePointer(changed(t, good["pointer"], add))
	if err != nil {
		t.Fatal(err)
	}
	again, err = ptr.Encode()
	check("pointer", again, err)

	bucket, err := ParseBucket(rewritten(t, DocumentBucket, good["bucket"], add))
	if err != nil {
		t.Fatal(err)
	}
	again, err = bucket.Encode()
	check("bucket", again, err)

	topic, err := ParseTopic(rewritten(t, DocumentTopic, good["topic"], add))
	if err != nil {
		t.Fatal(err)
	}
	again, err = topic.Encode()
	check("topic", again, err)

	orphan, err := ParseOrphan(rewritten(t, DocumentOrphan, good["orphan"], add))
	if err != nil {
		t.Fatal(err)
	}
	again, err = orphan.Encode()
	check("orphan", again, err)

	description, err := goldenDescription().Encode()
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseDescription(changed(t, description, add))
	if err != nil {
		t.Fatal(err)
	}
	again, err = d.Encode()
	check("description", again, err)
}

// Entries and trash keep the members that a newer build has added when they move into pages
// and trash pages.
func TestUnknownMembersMoveIntoPages(t *testing.T) {
	p := twoSegments(t)
	b := rewritten(t, DocumentManifest, p.objects[p.current.Name], func(v map[string]any) { addEverywhere(v) })
	var err error
	if p.m, err = ParseManifest(b); err != nil {
		t.Fatal(err)
	}
	p.shape = Shape{Inline: 1, Page: 1}
	p.edit(t, func(m *Manifest, e Edit) { m.Append(e, testSegment(30, 40, 1, 1)) })
	kept := 0
	for name, content := range p.objects {
		if n, _ := ParseName(name); n.Kind == KindPage || n.Kind == KindTrash {
			kept += bytes.Count(content, []byte(later))
		}
	}
	kept += bytes.Count(p.objects[p.current.Name], []byte(later))
	if kept != 4 { // the manifest, two segments, and the previous manifest as trash
		t.Errorf("%d unknown members are kept, want 4", kept)
	}
}

// A document that needs a feature that this build does not know is reported as such, however
// different the rest of it is.
func TestDocumentsFromTheFuture(t *testing.T) {
	good := goldenDocuments(t)
	kinds := map[string]Document{
		"manifest": DocumentManifest, "page": DocumentPage, "trash": DocumentTrash, "bucket": DocumentBucket, "topic": DocumentTopic,
		"orphan": DocumentOrphan,
	}
	parse := parsers(t)
	parse["page"] = func(b []byte) error { _, err := OpenPage(b); return err }
	parse["trash"] = func(b []byte) error { _, err := OpenTrashPage(b); return err }
	for name, d := range kinds {
		for what, change := range map[string]func(v map[string]any){
			"the rest as it is": func(map[string]any) {},
			"members of other types": func(v map[string]any) {
				for member := range v {
					if member != "read" {
						v[member] = []any{map[string]any{"x": "y"}, 1}
					}
				}
			},
		} {
			b := rewritten(t, d, good[name], func(v map[string]any) {
				v["read"] = []any{"time travel", "warp"}
				change(v)
			})
			err := parse[name](b)
			if !errors.Is(err, ErrUnsupportedFormat) || errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s, %s: %v, want ErrUnsupportedFormat", name, what, err)
			}
			for _, text := range []string{`"time travel", "warp"`, string(d), "upgrade this broker"} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%s, %s: %q does not name %q", name, what, err, text)
				}
			}
		}
	}
	ptr := changed(t, good["pointer"], func(v map[string]any) { v["read"] = []any{"warp"} })
	if _, err := ParsePointer(ptr); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), `"warp"`) {
		t.Errorf("pointer: %v", err)
	}
	know(t, "warp")
	if _, err := ParsePointer(ptr); err != nil {
		t.Errorf("pointer with a feature that is known: %v", err)
	}
}

// A document that this build must not write can be read.
func TestUnknownWriteFeatureIsReadOnly(t *testing.T) {
	good := goldenDocuments(t)
	warp := func(v map[string]any) { v["write"] = []any{"warp"} }
	m, err := ParseManifest(rewritten(t, DocumentManifest, good["manifest"], warp))
	if err != nil {
		t.Fatal(err)
	}
	ptr, err := ParsePointer(changed(t, good["pointer"], warp))
	if err != nil {
		t.Fatal(err)
	}
	page, err := OpenPage(rewritten(t, DocumentPage, good["page"], warp))
	if err != nil {
		t.Fatal(err)
	}
	trash, err := OpenTrashPage(rewritten(t, DocumentTrash, good["trash"], warp))
	if err != nil {
		t.Fatal(err)
	}
	writes := map[string]func() error{
		"manifest":        m.Writable,
		"manifest's edit": func() error { _, _, encodeErr := m.Next(Edit{}).Encode(); return encodeErr },
		"pointer":         ptr.Writable,
		"pointer's swap":  func() error { _, encodeErr := ptr.Encode(); return encodeErr },
		"page":            page.Writable,
		"trash page":      trash.Writable,
	}
	for name, write := range writes {
		if err = write(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), `"warp"`) {
			t.Errorf("%s: %v, want ErrReadOnly that names the feature", name, err)
		}
	}
	know(t, "warp")
	for name, write := range writes {
		if err = write(); err != nil {
			t.Errorf("%s with a feature that is known: %v", name, err)
		}
	}
}

// An entry that this build does not understand is unsupported by itself: the rest of the manifest
// is read, and the entry is kept.
func TestEntriesFromTheFuture(t *testing.T) {
	for what, change := range map[string]func(entry map[string]any){
		"a feature":            func(e map[string]any) { e["read"] = []any{"warp"} },
		"a location":           func(e map[string]any) { e["loc"] = 1 },
		"a kind of name":       func(e map[string]any) { e["name"] = "stream/7" },
		"a name without a key": func(e map[string]any) { e["name"] = "s3://elsewhere/object" },
		"another size":         func(e map[string]any) { e["read"] = []any{"warp"}; e["object_bytes"] = 1; e["hot_bytes"] = 0 },
	} {
		t.Run(what, func(t *testing.T) {
			p := fullManifest(t)
			b := rewritten(t, DocumentManifest, p.objects[p.current.Name], func(v map[string]any) {
				change(first(v["recent"]))
				change(first(v["pages"]))
				change(first(v["trash"]))
				change(first(v["trash_pages"]))
			})
			m, err := ParseManifest(b)
			if err != nil {
				t.Fatalf("the manifest is refused: %v", err)
			}
			s, r, trash, trashPage := m.Recent[0], m.Pages[0], m.Trash[0], m.TrashPages[0]
			for name, err := range map[string]error{
				"segment": s.Supported(), "page": r.Supported(), "trash": trash.Removable(), "trash page": trashPage.Supported(),
			} {
				if !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), "upgrade this broker") {
					t.Errorf("%s: %v, want ErrUnsupportedFormat", name, err)
				}
			}
			if _, err = m.Tree(p.load).Find(t.Context(), r.StartOffset); !errors.Is(err, ErrUnsupportedFormat) {
				t.Errorf("an offset below the page: %v, want ErrUnsupportedFormat", err)
			}
			other := m.Recent[1]
			found, err := m.Tree(p.load).Find(t.Context(), other.StartOffset)
			if err != nil || found.Name != other.Name || found.Supported() != nil {
				t.Errorf("an offset of another segment: %v", err)
			}
			again, _, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if kept, err := ParseManifest(again); err != nil || !slices.Equal(kept.Recent[0].Read, s.Read) || kept.Recent[0].Name != s.Name || kept.Recent[0].Loc != s.Loc {
				t.Errorf("the entry is not kept: %v", err)
			}
		})
	}
}
