package format

import (
	"fmt"

	"github.com/varvelog/varve/document"
)

// MaxLevel is far above any level in use: with the default shape a page of level n stands for 64 to
// the power of n+1 segments.
const MaxLevel = 9

// PageRef stands for a sealed page in a manifest or in a page of a higher level. Units are
// those of Segment.
type PageRef struct {
	Name string `json:"name"`
	Loc  int    `json:"loc,omitempty"`
	// Level is 0 for a page of segments, n+1 for a page of pages of level n.
	Level int `json:"level"`
	// Size and CRC32C are those of the page's object.
	Size   int64  `json:"size"`
	CRC32C uint32 `json:"crc32c"`

	StartOffset int64 `json:"start"`
	EndOffset   int64 `json:"end"`
	// MaxTimestamp is the largest MaxTimestamp of the segments below, MinMaxTimestamp the smallest.
	MaxTimestamp    int64 `json:"max_ts"`
	MinMaxTimestamp int64 `json:"min_max_ts"`
	// FirstEnd, FirstTime and FirstBytes are end, RetentionTime and bytes of the first
	// segment below.
	FirstEnd   int64 `json:"first_end"`
	FirstTime  int64 `json:"first_time"`
	FirstBytes int64 `json:"first_bytes"`

	Bytes      int64 `json:"bytes"`
	Segments   int64 `json:"segments"`
	Aborted    int64 `json:"aborted,omitempty"`
	FirstEpoch int32 `json:"first_epoch"`
	LastEpoch  int32 `json:"last_epoch"`

	Read []string `json:"read,omitempty"`

	unknown document.Unknown
}

// Supported returns nil if this build can read the page, and otherwise an ErrUnsupportedFormat
// with the reason.
func (r *PageRef) Supported() error {
	if err := readable(fmt.Sprintf("page %q", r.Name), r.Read); err != nil {
		return err
	}
	if r.Loc != 0 {
		return unsupportedLocation("page", r.Name, r.Loc)
	}
	if name, ok := ParseName(r.Name); !ok || name.Kind != KindPage || r.Level > MaxLevel {
		return unsupportedName("page", r.Name)
	}
	return nil
}

func (r *PageRef) isSupported() bool { return r.Supported() == nil }

// check checks the reference as Segment.check checks a segment.
func (r *PageRef) check(next *int64) error {
	bad := func(what string) error { return fmt.Errorf("%w: %s of page %q", ErrCorrupt, what, r.Name) }
	switch {
	case r.Name == "" || r.Level < 0:
		return bad("name")
	case r.StartOffset < 0 || r.EndOffset <= r.StartOffset || *next >= 0 && r.StartOffset != *next:
		return bad("range")
	case r.Segments <= 0 || r.Bytes < 0 || r.FirstEpoch < 0 || r.FirstEpoch > r.LastEpoch:
		return bad("summary")
	case r.FirstEnd <= r.StartOffset || r.FirstEnd > r.EndOffset || r.FirstBytes < 0 || r.FirstBytes > r.Bytes:
		return bad("first segment")
	}
	*next = r.EndOffset
	if !r.isSupported() {
		return nil
	}
	if name, _ := ParseName(r.Name); name.StartOffset != r.StartOffset || name.Level != r.Level {
		return bad("start")
	}
	if r.Size <= 0 || r.Size > MaxDocumentBytes {
		return bad("size")
	}
	return nil
}

// Page is a sealed run of entries: segments at level 0, pages of the next lower level above. It is
// immutable, and all manifests that name it share it.
type Page struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	Level    int       `json:"level"`
	Segments []Segment `json:"segments,omitempty"`
	Pages    []PageRef `json:"pages,omitempty"`
}

func (p *Page) gates() (read, write []string) { return p.Read, p.Write }

// Writable returns an ErrReadOnly with the reason if this build must not delete what the page
// names, otherwise nil.
func (p *Page) Writable() error { return writable(string(DocumentPage), p) }

// Cost returns approximately how many bytes of memory the page takes.
func (p *Page) Cost() int64 { return int64(len(p.Segments)+len(p.Pages)) * 400 }

// Encode returns the content of the page's object.
func (p *Page) Encode() ([]byte, error) { return seal(DocumentPage, p) }

// ParsePage decodes and checks what Encode wrote, and checks the bytes against the size and
// checksum in the reference.
func ParsePage(b []byte, ref *PageRef) (*Page, error) {
	if int64(len(b)) != ref.Size || Checksum(b) != ref.CRC32C {
		return nil, fmt.Errorf("%w: page %q has %d bytes with checksum %08x, want %d with %08x",
			ErrCorrupt, ref.Name, len(b), Checksum(b), ref.Size, ref.CRC32C)
	}
	p, err := OpenPage(b)
	if err != nil {
		return nil, fmt.Errorf("page %q: %w", ref.Name, err)
	}
	if got := p.Ref(ref.Name, b); got.Level != ref.Level || got.StartOffset != ref.StartOffset || got.EndOffset != ref.EndOffset {
		return nil, fmt.Errorf("%w: page %q of level %d has [%d, %d), want level %d and [%d, %d)",
			ErrCorrupt, ref.Name, got.Level, got.StartOffset, got.EndOffset, ref.Level, ref.StartOffset, ref.EndOffset)
	}
	return p, nil
}

// OpenPage is ParsePage without a reference.
func OpenPage(b []byte) (*Page, error) {
	p := &Page{}
	if err := open(DocumentPage, b, p); err != nil {
		return nil, err
	}
	return p, p.check()
}

func (p *Page) check() error {
	if p.Level < 0 || p.Level > MaxLevel || (p.Level == 0) != (len(p.Pages) == 0) || (p.Level == 0) != (len(p.Segments) > 0) {
		return fmt.Errorf("%w: page of level %d", ErrCorrupt, p.Level)
	}
	next := int64(-1)
	for i := range p.Segments {
		if err := p.Segments[i].check(&next); err != nil {
			return err
		}
	}
	for i := range p.Pages {
		if err := p.Pages[i].check(&next); err != nil {
			return err
		}
		if p.Pages[i].Level != p.Level-1 {
			return fmt.Errorf("%w: page of level %d has one of level %d", ErrCorrupt, p.Level, p.Pages[i].Level)
		}
	}
	return nil
}

// Ref returns the reference to the page, whose object has that name and content.
func (p *Page) Ref(name string, content []byte) PageRef {
	r := PageRef{Name: name, Level: p.Level, Size: int64(len(content)), CRC32C: Checksum(content), Read: p.Read}
	for i := range p.Segments {
		s := &p.Segments[i]
		r.add(i == 0, &PageRef{
			StartOffset: s.StartOffset, EndOffset: s.EndOffset, MaxTimestamp: s.MaxTimestamp, MinMaxTimestamp: s.MaxTimestamp,
			FirstEnd: s.EndOffset, FirstTime: s.RetentionTime(), FirstBytes: s.Bytes,
			Bytes: s.Bytes, Segments: 1, Aborted: s.Aborted, FirstEpoch: s.FirstEpoch(), LastEpoch: s.LastEpoch(),
		})
	}
	for i := range p.Pages {
		r.add(i == 0, &p.Pages[i])
	}
	return r
}

// add extends the summary by the entry that follows.
func (r *PageRef) add(first bool, next *PageRef) {
	if first {
		r.StartOffset, r.FirstEpoch, r.MaxTimestamp, r.MinMaxTimestamp = next.StartOffset, next.FirstEpoch, next.MaxTimestamp, next.MinMaxTimestamp
		r.FirstEnd, r.FirstTime, r.FirstBytes = next.FirstEnd, next.FirstTime, next.FirstBytes
	}
	r.EndOffset, r.LastEpoch = next.EndOffset, next.LastEpoch
	r.MaxTimestamp, r.MinMaxTimestamp = max(r.MaxTimestamp, next.MaxTimestamp), min(r.MinMaxTimestamp, next.MinMaxTimestamp)
	r.Bytes += next.Bytes
	r.Segments += next.Segments
	r.Aborted += next.Aborted
}
