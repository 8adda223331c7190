package format

import (
	"fmt"
	"math"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
)

// Stored describes an object as it was written.
type Stored struct {
	Name   string
	Size   int64
	CRC32C uint32
}

// Manifest is one version of a partition's remote tier. It is immutable once it is written; edits
// make a new one, see Next. Units are those of Segment.
type Manifest struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	ClusterID   string           `json:"cluster_id"`
	Topic       string           `json:"topic"`
	TopicID     metadata.TopicID `json:"topic_id"`
	Partition   int32            `json:"partition"`
	BrokerID    int32            `json:"broker_id"`
	LeaderEpoch int32            `json:"leader_epoch"`
	Sequence    int64            `json:"sequence"` // 0: the partition has no remote tier yet
	Attempt     string           `json:"attempt"`  // of the manifest's name
	CreatedMs   int64            `json:"created_ms"`
	Prev        *Prev            `json:"prev,omitempty"` // nil: it is the first one

	// LogStart is the partition's log start offset, limited to the range of the tier. StartOffset
	// is the start of the oldest segment that is kept: everything below is deleted, even if a page
	// still names it. EndOffset is the end of the last segment that was ever committed, and
	// LastEpoch the leader epoch there, -1 if there was none.
	LogStart    int64 `json:"log_start"`
	StartOffset int64 `json:"start_offset"`
	EndOffset   int64 `json:"end_offset"`
	LastEpoch   int32 `json:"last_epoch"`
	// Segments and Bytes count what is not deleted.
	Segments int64 `json:"segments"`
	Bytes    int64 `json:"bytes"`
	// Oldest describes the segment at StartOffset; nil: there is none.
	Oldest *Oldest `json:"oldest,omitempty"`

	// Locations are the places of objects that are not beside the manifest. Entries refer to it by
	// index, also those in sealed pages, so it only grows.
	Locations []Location `json:"locations,omitempty"`
	Lineage   []Cut      `json:"lineage,omitempty"`
	Pins      []Pin      `json:"pins,omitempty"`

	Pages      []PageRef  `json:"pages,omitempty"`
	Recent     []Segment  `json:"recent,omitempty"`
	Trash      []Trash    `json:"trash,omitempty"`
	TrashPages []TrashRef `json:"trash_pages,omitempty"`

	unknown  document.Unknown
	outlined *outlined // nil: the manifest has all its entries
}

// Prev is the previous manifest.
type Prev struct {
	Name   string `json:"name"`
	CRC32C uint32 `json:"crc32c"` // of its object
}

// Oldest is what retention needs to know of the oldest segment: nothing expires before that one.
type Oldest struct {
	EndOffset int64 `json:"end"`
	Time      int64 `json:"time"` // as RetentionTime returns it
	Bytes     int64 `json:"bytes"`
}

// Location is a place for objects.
type Location struct {
	Bucket string `json:"bucket"`          // its URL; "": the manifest's bucket
	Prefix string `json:"prefix"`          // of the keys, before the names
	Key    string `json:"key,omitempty"`   // id of the key that encrypts the objects
	Class  string `json:"class,omitempty"` // storage class

	unknown document.Unknown
}

// Cut records that the history was ended at an offset, because a leader's log had another one
// from there on.
type Cut struct {
	Offset      int64 `json:"offset"`
	LeaderEpoch int32 `json:"epoch"`    // at the end of what was cut
	ByEpoch     int32 `json:"by_epoch"` // of the leader that made the cut
	Ms          int64 `json:"ms"`

	unknown document.Unknown
}

// Pin keeps everything that a manifest names: nothing is deleted before UntilMs.
type Pin struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	UntilMs  int64  `json:"until_ms"`
	Manifest string `json:"manifest"`

	unknown document.Unknown
}

func (m *Manifest) gates() (read, write []string) { return m.Read, m.Write }

// Writable returns an ErrReadOnly with the reason if this build must not replace the manifest,
// otherwise nil.
func (m *Manifest) Writable() error { return writable(string(DocumentManifest), m) }

// Name returns the manifest's object name.
func (m *Manifest) Name() string {
	return Name{Kind: KindManifest, LeaderEpoch: m.LeaderEpoch, Sequence: m.Sequence, Attempt: m.Attempt}.String()
}

// Empty returns true if nothing can be read from the tier.
func (m *Manifest) Empty() bool {
	if m.outlined != nil {
		return m.Oldest == nil
	}
	return len(m.Pages) == 0 && len(m.Recent) == 0
}

// PinnedUntil returns when the last pin ends, in unix ms, or 0 if there is none.
func (m *Manifest) PinnedUntil() int64 {
	until := int64(0)
	for i := range m.Pins {
		until = max(until, m.Pins[i].UntilMs)
	}
	return until
}

// Encode returns the content of the manifest's object. It returns ErrTooLarge if that
// cannot be written.
func (m *Manifest) Encode() ([]byte, Stored, error) {
	m.whole()
	b, err := seal(DocumentManifest, m)
	if err != nil {
		return nil, Stored{}, err
	}
	return b, Stored{Name: m.Name(), Size: int64(len(b)), CRC32C: Checksum(b)}, nil
}

// ParseManifest decodes and checks what Encode wrote.
func ParseManifest(b []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := open(DocumentManifest, b, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// check checks what readers rely on: the entries follow one another without a gap from the
// start to the end.
func (m *Manifest) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: manifest: %s", ErrCorrupt, what) }
	if err := m.checkHeader(); err != nil || m.Empty() {
		return err
	}
	next := int64(-1)
	for i := range m.Pages {
		if err := m.Pages[i].check(&next); err != nil {
			return err
		}
	}
	for i := range m.Recent {
		if err := m.Recent[i].check(&next); err != nil {
			return err
		}
	}
	first, firstEnd := m.first()
	if next != m.EndOffset || m.StartOffset < first || m.StartOffset >= firstEnd {
		return bad("range of the segments")
	}
	return nil
}

// checkHeader checks everything but the entries.
func (m *Manifest) checkHeader() error {
	bad := func(what string) error { return fmt.Errorf("%w: manifest: %s", ErrCorrupt, what) }
	if m.Sequence <= 0 || m.LeaderEpoch < 0 || !isAttempt(m.Attempt) {
		return bad("name")
	}
	if m.StartOffset < 0 || m.LogStart < m.StartOffset || m.EndOffset < m.LogStart || m.Segments < 0 || m.Bytes < 0 {
		return bad("range")
	}
	if err := checkTrash(m.Trash, m.TrashPages); err != nil {
		return err
	}
	if m.Empty() {
		if m.StartOffset != m.EndOffset || m.Segments != 0 || m.Bytes != 0 || m.Oldest != nil {
			return bad("no segments, but a size")
		}
		return nil
	}
	if o := m.Oldest; o == nil || o.EndOffset <= m.StartOffset || o.EndOffset > m.EndOffset || o.Bytes > m.Bytes {
		return bad("oldest segment")
	}
	return nil
}

// first returns the range of the oldest entry.
func (m *Manifest) first() (start, end int64) {
	if len(m.Pages) > 0 {
		return m.Pages[0].StartOffset, m.Pages[0].EndOffset
	}
	return m.Recent[0].StartOffset, m.Recent[0].EndOffset
}

// Deletes returns true if the manifest itself, not one of its trash pages, lists an object of that
// name as trash.
func (m *Manifest) Deletes(name string) bool {
	for i := range m.Trash {
		if m.Trash[i].Name == name {
			return true
		}
	}
	return false
}

// TrashEntries returns the number of trash entries in the manifest and in its trash pages.
func (m *Manifest) TrashEntries() int64 {
	n := int64(len(m.Trash))
	for i := range m.TrashPages {
		n += min(m.TrashPages[i].Entries, math.MaxInt32)
	}
	return n
}
