package format

import "encoding/json"

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

// ParseOutline reads what Encode wrote, which is in an object, but for the entries: it takes a fifth of
// the time of ParseManifest, which checks them too.
func ParseOutline(b []byte, object Stored) (*Manifest, error) {
	var parsed parsedOutline
	if err := open(DocumentManifest, b, &parsed); err != nil {
		return nil, err
	}
	m := new(Manifest) // and nothing of the entries
	*m = Manifest(parsed.plainManifest)
	m.outlined = &outlined{object: object}
	if n := len(parsed.Recent); n > 0 {
		m.outlined.lastUploadedMs = parsed.Recent[n-1].UploadedMs
	}
	return m, m.checkHeader()
}

// plainManifest is a manifest whose unknown members are lost: an outline is not written.
type plainManifest Manifest

// parsedOutline has the entries of a manifest in other fields.
type parsedOutline struct {
	plainManifest

	Pages  json.RawMessage `json:"pages"`
	Recent []struct {
		UploadedMs int64 `json:"uploaded_ms"`
	} `json:"recent"`
}

func (p *parsedOutline) gates() (read, write []string) { return p.Read, p.Write }

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
