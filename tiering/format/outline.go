package format

import (
	"encoding/json"

	"github.com/varvelog/varve/document"
)

// outlined is what an outline has in the place of its entries.
type outlined struct {
	object         Stored
	lastUploadedMs int64
}

// Outline is the manifest without its entries, which are in an object: all that a leader needs to know
// that there is nothing to do. It has no Tree, and no other version can be made of it.
func (m *Manifest) Outline(object Stored) *Manifest {
	if m.outlined != nil {
		return m
	}
	n := *m
	n.outlined = &outlined{object, m.LastUploadedMs()}
	n.Pages, n.Recent = nil, nil
	return &n
}

// ParseOutline reads what Encode wrote, which is in an object, but for the entries: these are not even
// decoded, which would be nearly all that it takes.
func ParseOutline(b []byte, object Stored) (*Manifest, error) {
	body, err := DocumentManifest.Unwrap(b)
	if err != nil {
		return nil, err
	}
	header, entries := document.Without(body, "pages", "recent")
	var parsed plainManifest
	if err = decode(string(DocumentManifest), header, &parsed); err != nil {
		return nil, err
	}
	m := new(Manifest)
	*m = Manifest(parsed)
	m.Pages, m.Recent = nil, nil
	m.outlined = &outlined{object: object, lastUploadedMs: uploadedMs(document.Last(entries[1]))}
	return m, m.checkHeader()
}

// uploadedMs is the time in an entry; 0: there is no entry, or it is damaged.
func uploadedMs(entry []byte) int64 {
	var e struct {
		UploadedMs int64 `json:"uploaded_ms"`
	}
	if len(entry) == 0 || json.Unmarshal(entry, &e) != nil {
		return 0
	}
	return e.UploadedMs
}

// plainManifest is a manifest whose unknown members are lost: an outline is not written.
type plainManifest Manifest

func (p *plainManifest) gates() (read, write []string) { return p.Read, p.Write }

// Outlined is the object that has all of the manifest; false: this is all.
func (m *Manifest) Outlined() (Stored, bool) {
	if m.outlined == nil {
		return Stored{}, false
	}
	return m.outlined.object, true
}

// whole holds that entries are not looked for in an outline, which would be an empty history.
func (m *Manifest) whole() {
	if m.outlined != nil {
		panic("tiering/format: an outline of a manifest has no entries")
	}
}

// LastUploadedMs is when the last segment went up, in unix ms; 0: it is in a page, or there is none.
func (m *Manifest) LastUploadedMs() int64 {
	if m.outlined != nil {
		return m.outlined.lastUploadedMs
	}
	if n := len(m.Recent); n > 0 {
		return m.Recent[n-1].UploadedMs
	}
	return 0
}

// Cost is about what the manifest takes in memory, in bytes.
func (m *Manifest) Cost() int64 {
	return 1024 + int64(len(m.Pages)+len(m.Recent)+len(m.Trash)+len(m.TrashPages))*400
}
