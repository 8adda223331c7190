package format

import (
	"encoding/json"

	"github.com/varvelog/varve/document"
)

// outlined is what an outline has in place of the entries.
type outlined struct {
	object         Stored
	lastUploadedMs int64
}

// Outline returns the manifest without its entries, which remain in the given object. A leader
// needs no more to know that there is nothing to do. An outline has no Tree, and no next version
// can be made of it.
func (m *Manifest) Outline(object Stored) *Manifest {
	if m.outlined != nil {
		return m
	}
	n := *m
	n.outlined = &outlined{object, m.LastUploadedMs()}
	n.Pages, n.Recent = nil, nil
	return &n
}

// ParseOutline decodes what Encode wrote, and the given object holds, without its entries. They are
// not even decoded, which would be nearly all the work.
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

// uploadedMs returns the upload time of an encoded entry, 0 if there is no entry or it is damaged.
func uploadedMs(entry []byte) int64 {
	var e struct {
		UploadedMs int64 `json:"uploaded_ms"`
	}
	if len(entry) == 0 || json.Unmarshal(entry, &e) != nil {
		return 0
	}
	return e.UploadedMs
}

// plainManifest is a manifest that drops its unknown members: an outline is never written.
type plainManifest Manifest

func (p *plainManifest) gates() (read, write []string) { return p.Read, p.Write }

// Outlined returns the object that has the whole manifest. It returns false if m is whole itself.
func (m *Manifest) Outlined() (Stored, bool) {
	if m.outlined == nil {
		return Stored{}, false
	}
	return m.outlined.object, true
}

// whole panics for an outline: in place of its entries a caller would see an empty history.
func (m *Manifest) whole() {
	if m.outlined != nil {
		panic("tiering/format: an outline of a manifest has no entries")
	}
}

// LastUploadedMs returns when the last segment was uploaded, in unix ms. It returns 0 if that
// segment is in a page, or there is none.
func (m *Manifest) LastUploadedMs() int64 {
	if m.outlined != nil {
		return m.outlined.lastUploadedMs
	}
	if n := len(m.Recent); n > 0 {
		return m.Recent[n-1].UploadedMs
	}
	return 0
}

// Cost returns approximately how many bytes of memory the manifest takes.
func (m *Manifest) Cost() int64 {
	return 1024 + int64(len(m.Pages)+len(m.Recent)+len(m.Trash)+len(m.TrashPages))*400
}
