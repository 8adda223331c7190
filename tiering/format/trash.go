package format

import (
	"fmt"

	"github.com/varvelog/varve/document"
)

// Reasons why objects are trash.
const (
	ReasonRetention        = "retention"         // the topic's settings
	ReasonLogStart         = "log_start"         // below the log start, as after DeleteRecords
	ReasonReplacedManifest = "replaced_manifest" // the next manifest replaced it
	ReasonEmptyTrash       = "empty_trash"       // a trash page whose entries are all deleted
	ReasonCut              = "cut"               // another history than the log's, see Cut
)

// Trash is an object that no manifest names any more, with the time from which it may be deleted.
// For a page it includes everything that the page names, unless Alone is set.
type Trash struct {
	Kind  string `json:"kind"` // Kind.String
	Name  string `json:"name"`
	Loc   int    `json:"loc,omitempty"`
	Alone bool   `json:"alone,omitempty"` // the page is trash, but not what it names
	// StartOffset, EndOffset and Bytes are the range and the log bytes of a segment, or of
	// everything below a page.
	StartOffset int64 `json:"start,omitempty"`
	EndOffset   int64 `json:"end,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"`
	// Size and CRC32C are those of the object. Only pages have the checksum.
	Size   int64  `json:"size,omitempty"`
	CRC32C uint32 `json:"crc32c,omitempty"`

	Reason    string `json:"reason"`
	DeletedMs int64  `json:"deleted_ms"` // when it became trash
	AfterMs   int64  `json:"after_ms"`   // it is not deleted before that

	Read []string `json:"read,omitempty"`

	unknown document.Unknown
}

// Removable returns nil if this build can delete the object, and otherwise an ErrUnsupportedFormat
// with the reason.
func (t *Trash) Removable() error {
	if err := readable(fmt.Sprintf("trash %q", t.Name), t.Read); err != nil {
		return err
	}
	if t.Loc != 0 {
		return unsupportedLocation("trash", t.Name, t.Loc)
	}
	if name, ok := ParseName(t.Name); !ok || name.Kind.String() != t.Kind {
		return unsupportedName("trash", t.Name)
	}
	return nil
}

// PageRef returns a reference to the page that is trash, sufficient to load it.
func (t *Trash) PageRef() PageRef {
	name, _ := ParseName(t.Name)
	return PageRef{
		Name: t.Name, Loc: t.Loc, Read: t.Read, Level: name.Level, StartOffset: t.StartOffset, EndOffset: t.EndOffset, Size: t.Size, CRC32C: t.CRC32C,
	}
}

// IsPage returns true if the trash is a page of the tree with everything that it names.
func (t *Trash) IsPage() bool { return t.Kind == KindPage.String() && !t.Alone }

func (t *Trash) check() error {
	if t.Kind == "" || t.Name == "" || t.EndOffset < t.StartOffset {
		return fmt.Errorf("%w: trash %q of kind %q", ErrCorrupt, t.Name, t.Kind)
	}
	return nil
}

// TrashRef stands for a sealed page of trash.
type TrashRef struct {
	Name   string `json:"name"`
	Loc    int    `json:"loc,omitempty"`
	Size   int64  `json:"size"`
	CRC32C uint32 `json:"crc32c"`

	Entries int64 `json:"entries"`  // of the page, and of the pages that it names
	AfterMs int64 `json:"after_ms"` // the largest of theirs

	Read []string `json:"read,omitempty"`

	unknown document.Unknown
}

// Supported returns nil if this build can read the trash page, and otherwise an
// ErrUnsupportedFormat with the reason.
func (r *TrashRef) Supported() error {
	if err := readable(fmt.Sprintf("trash page %q", r.Name), r.Read); err != nil {
		return err
	}
	if r.Loc != 0 {
		return unsupportedLocation("trash page", r.Name, r.Loc)
	}
	if name, ok := ParseName(r.Name); !ok || name.Kind != KindTrash {
		return unsupportedName("trash page", r.Name)
	}
	return nil
}

func (r *TrashRef) check() error {
	if r.Name == "" || r.Entries <= 0 || r.Size <= 0 {
		return fmt.Errorf("%w: trash page %q of %d entries", ErrCorrupt, r.Name, r.Entries)
	}
	return nil
}

// TrashPage is a sealed run of trash, oldest first, or of pages of trash.
type TrashPage struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	Trash []Trash    `json:"trash,omitempty"`
	Pages []TrashRef `json:"pages,omitempty"`
}

func (p *TrashPage) gates() (read, write []string) { return p.Read, p.Write }

// Writable returns an ErrReadOnly with the reason if this build must not delete what the page
// lists, otherwise nil.
func (p *TrashPage) Writable() error { return writable(string(DocumentTrash), p) }

// Encode returns the content of the page's object.
func (p *TrashPage) Encode() ([]byte, error) { return seal(DocumentTrash, p) }

// Ref returns the reference to the page, whose object has that name and content.
func (p *TrashPage) Ref(name string, content []byte) TrashRef {
	r := TrashRef{Name: name, Size: int64(len(content)), CRC32C: Checksum(content), Entries: int64(len(p.Trash)), Read: p.Read}
	for i := range p.Trash {
		r.AfterMs = max(r.AfterMs, p.Trash[i].AfterMs)
	}
	for i := range p.Pages {
		r.Entries += p.Pages[i].Entries
		r.AfterMs = max(r.AfterMs, p.Pages[i].AfterMs)
	}
	return r
}

// ParseTrashPage decodes and checks what Encode wrote, and checks the bytes against the size and
// checksum in the reference.
func ParseTrashPage(b []byte, ref *TrashRef) (*TrashPage, error) {
	if int64(len(b)) != ref.Size || Checksum(b) != ref.CRC32C {
		return nil, fmt.Errorf("%w: trash page %q has %d bytes with checksum %08x, want %d with %08x",
			ErrCorrupt, ref.Name, len(b), Checksum(b), ref.Size, ref.CRC32C)
	}
	p, err := OpenTrashPage(b)
	if err != nil {
		return nil, fmt.Errorf("trash page %q: %w", ref.Name, err)
	}
	return p, nil
}

// OpenTrashPage is ParseTrashPage without a reference.
func OpenTrashPage(b []byte) (*TrashPage, error) {
	p := &TrashPage{}
	if err := open(DocumentTrash, b, p); err != nil {
		return nil, err
	}
	return p, checkTrash(p.Trash, p.Pages)
}

func checkTrash(trash []Trash, pages []TrashRef) error {
	for i := range trash {
		if err := trash[i].check(); err != nil {
			return err
		}
	}
	for i := range pages {
		if err := pages[i].check(); err != nil {
			return err
		}
	}
	return nil
}
