package tiering

import (
	"fmt"
	"slices"
	"sort"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// shape says how much a manifest holds itself: when it has more than inline
// entries of a kind, the oldest of them are sealed into a page of that size. With
// that of New a manifest stays below about 100 KB however long the history is.
// Readers take any shape.
type shape struct{ inline, page int }

// maxLevel is far above what can be reached: a page of level n stands for 64 to
// the power of n+1 segments.
const maxLevel = 9

// segment is one entry of a manifest or a page: a segment object and the range
// of offsets that it serves.
type segment struct {
	// Name of the object, relative to the partition's prefix.
	Name string `json:"name"`
	// Location is the bucket and prefix of the object when they are not those of
	// the manifest. This version writes none and reads none.
	Location string `json:"location,omitempty"`
	// BaseOffset is that of the object's first batch. It is below StartOffset
	// when the object was cut by another leader than the one before: the offsets
	// in between are served by the entry before.
	BaseOffset    int64       `json:"base"`
	StartOffset   int64       `json:"start"`
	EndOffset     int64       `json:"end"`
	MaxTimestamp  int64       `json:"max_ts"`
	Bytes         int64       `json:"bytes"`        // of the log
	ObjectBytes   int64       `json:"object_bytes"` // of the object
	ChunkBytes    int32       `json:"chunk_bytes"`
	FooterBytes   int32       `json:"footer_bytes"` // the footer is the end of the object
	Epochs        []epochPair `json:"epochs"`       // the leader epochs of the range, the first one of its start
	UploadedMs    int64       `json:"uploaded_ms"`
	UploaderEpoch int32       `json:"uploader_epoch"`

	unknown document.Unknown
}

// epochPair is a leader epoch and the offset at which it starts.
type epochPair [2]int64

// pageRef stands for a sealed page in a manifest or in a page of a higher level.
type pageRef struct {
	Name     string `json:"name"`
	Location string `json:"location,omitempty"`
	// Level is 0 for a page of segments, n+1 for one of pages of level n.
	Level        int   `json:"level"`
	StartOffset  int64 `json:"start"`
	EndOffset    int64 `json:"end"`
	MaxTimestamp int64 `json:"max_ts"`
	Bytes        int64 `json:"bytes"`
	Segments     int64 `json:"segments"`
	FirstEpoch   int32 `json:"first_epoch"`
	LastEpoch    int32 `json:"last_epoch"`

	unknown document.Unknown
}

// deletion is an object that no manifest names any more, and when it may go.
// For a page it means everything that the page names as well.
type deletion struct {
	Name    string `json:"name"`
	AfterMs int64  `json:"after_ms"`

	unknown document.Unknown
}

// manifest is one version of a partition's remote tier. It is immutable once
// it has been written; edits make a new one.
type manifest struct {
	ClusterID   string           `json:"cluster_id"`
	Topic       string           `json:"topic"`
	TopicID     metadata.TopicID `json:"topic_id"`
	Partition   int32            `json:"partition"`
	BrokerID    int32            `json:"broker_id"`
	LeaderEpoch int32            `json:"leader_epoch"`
	Sequence    int64            `json:"sequence"` // 0: the partition has no remote tier yet
	CreatedMs   int64            `json:"created_ms"`

	// StartOffset is the log start in the remote tier: what lies below is
	// deleted, also where a page still names it. EndOffset is the end of the last
	// segment that was ever committed.
	StartOffset int64 `json:"start_offset"`
	EndOffset   int64 `json:"end_offset"`
	// Segments and Bytes count what is not deleted.
	Segments int64 `json:"segments"`
	Bytes    int64 `json:"bytes"`

	Pages     []pageRef  `json:"pages,omitempty"`
	Recent    []segment  `json:"recent,omitempty"`
	Deletions []deletion `json:"deletions,omitempty"`

	unknown document.Unknown
}

// name is the manifest's object name.
func (m *manifest) name() string {
	return objectName{kind: kindManifest, epoch: m.LeaderEpoch, sequence: m.Sequence}.String()
}

// empty tells whether nothing can be read from the tier.
func (m *manifest) empty() bool { return len(m.Pages) == 0 && len(m.Recent) == 0 }

// encode is the content of the manifest's object.
func (m *manifest) encode() ([]byte, error) { return sealDocument(manifestFormat, m) }

// parseManifest reads and checks what encode wrote.
func parseManifest(b []byte) (*manifest, error) {
	m := &manifest{}
	if err := openDocument(manifestFormat, b, m); err != nil {
		return nil, err
	}
	if err := m.validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// validate checks what readers rely on: the entries follow one another without
// a gap from the start to the end.
func (m *manifest) validate() error {
	bad := func(what string) error { return fmt.Errorf("%w: manifest: %s", ErrCorrupt, what) }
	if m.Sequence <= 0 || m.LeaderEpoch < 0 || m.StartOffset < 0 || m.EndOffset < m.StartOffset || m.Segments < 0 || m.Bytes < 0 {
		return bad("header")
	}
	for _, d := range m.Deletions {
		if _, ok := parseName(d.Name); !ok {
			return bad("deletion")
		}
	}
	if m.empty() {
		if m.StartOffset != m.EndOffset || m.Segments != 0 || m.Bytes != 0 {
			return bad("no segments, but a size")
		}
		return nil
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

// first is the range of the oldest entry.
func (m *manifest) first() (start, end int64) {
	if len(m.Pages) > 0 {
		return m.Pages[0].StartOffset, m.Pages[0].EndOffset
	}
	return m.Recent[0].StartOffset, m.Recent[0].EndOffset
}

// check checks the entry by itself, and that it starts at *next (unless that is
// negative), which it moves to its end.
func (s *segment) check(next *int64) error {
	name, ok := parseName(s.Name)
	switch {
	case s.Location != "" || !ok || name.kind != kindSegment || name.start != s.StartOffset:
		return fmt.Errorf("%w: segment %q at %q", ErrCorrupt, s.Name, s.Location)
	case s.BaseOffset < 0 || s.StartOffset < s.BaseOffset || s.EndOffset <= s.StartOffset || (*next >= 0 && s.StartOffset != *next):
		return fmt.Errorf("%w: range of segment %q", ErrCorrupt, s.Name)
	case s.Bytes <= 0 || s.ObjectBytes-s.Bytes < footerSize || s.ObjectBytes-s.Bytes > maxTailBytes || s.FooterBytes != footerSize:
		return fmt.Errorf("%w: size of segment %q", ErrCorrupt, s.Name)
	case len(s.Epochs) == 0 || !slices.IsSortedFunc(s.Epochs, func(a, b epochPair) int { return int(min(max(a[0]-b[0], -1), 1)) }):
		return fmt.Errorf("%w: leader epochs of segment %q", ErrCorrupt, s.Name)
	}
	*next = s.EndOffset
	return nil
}

// check is as that of a segment.
func (r *pageRef) check(next *int64) error {
	name, ok := parseName(r.Name)
	switch {
	case r.Location != "" || !ok || name.kind != kindPage || name.start != r.StartOffset || name.level != r.Level || r.Level > maxLevel:
		return fmt.Errorf("%w: page %q at %q", ErrCorrupt, r.Name, r.Location)
	case r.StartOffset < 0 || r.EndOffset <= r.StartOffset || (*next >= 0 && r.StartOffset != *next):
		return fmt.Errorf("%w: range of page %q", ErrCorrupt, r.Name)
	case r.Segments <= 0 || r.Bytes < 0 || r.FirstEpoch > r.LastEpoch:
		return fmt.Errorf("%w: summary of page %q", ErrCorrupt, r.Name)
	}
	*next = r.EndOffset
	return nil
}

// next is a copy with the next version's header, which edits may change. The
// manifest that it replaces is to be deleted like anything else.
func (m *manifest) next(epoch int32, broker int32, nowMs, deleteAfterMs int64, gone map[string]bool) *manifest {
	n := *m
	n.LeaderEpoch, n.BrokerID, n.CreatedMs = epoch, broker, nowMs
	n.Sequence++
	n.Pages, n.Recent = slices.Clone(m.Pages), slices.Clone(m.Recent)
	n.Deletions = make([]deletion, 0, len(m.Deletions)+1)
	for _, d := range m.Deletions {
		if !gone[d.Name] {
			n.Deletions = append(n.Deletions, d)
		}
	}
	if m.Sequence > 0 {
		n.Deletions = append(n.Deletions, deletion{Name: m.name(), AfterMs: deleteAfterMs})
	}
	return &n
}

// append adds a segment that continues the tier. It belongs to a copy that next made.
func (m *manifest) append(s segment) {
	if m.empty() {
		m.StartOffset = s.StartOffset
	}
	m.EndOffset = s.EndOffset
	m.Segments++
	m.Bytes += s.ownBytes()
	m.Recent = append(m.Recent, s)
}

// find looks an offset of the tier up in the manifest itself: it is in a
// segment, or else in what a page stands for.
func (m *manifest) find(offset int64) (*segment, *pageRef) {
	if len(m.Recent) > 0 && offset >= m.Recent[0].StartOffset {
		return findSegment(m.Recent, offset), nil
	}
	return nil, findPage(m.Pages, offset)
}

// findSegment is the entry whose range has the offset. Ranges have no gaps.
func findSegment(segments []segment, offset int64) *segment {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].EndOffset > offset })
	if i == len(segments) || offset < segments[i].StartOffset {
		return nil
	}
	return &segments[i]
}

func findPage(pages []pageRef, offset int64) *pageRef {
	i := sort.Search(len(pages), func(i int) bool { return pages[i].EndOffset > offset })
	if i == len(pages) || offset < pages[i].StartOffset {
		return nil
	}
	return &pages[i]
}

// rangeEpochs cuts a history of leader epochs down to a range of offsets: the
// one at its start and those that start within.
func rangeEpochs(epochs []storage.EpochEntry, start, end int64) []epochPair {
	var out []epochPair
	for _, e := range epochs {
		switch {
		case e.StartOffset >= end:
		case e.StartOffset <= start:
			out = append(out[:0], epochPair{int64(e.Epoch), start})
		default:
			out = append(out, epochPair{int64(e.Epoch), e.StartOffset})
		}
	}
	return out
}
