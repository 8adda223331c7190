package format

import (
	"encoding/json"
	"fmt"

	"github.com/varvelog/varve/document"
)

// PointerVersion is the version of the pointer's format. Version 1 belongs to builds that were
// never released.
const PointerVersion = 2

// Pointer is the value of tier/<topic id>/<partition>: which manifest is current, what is in it,
// and which broker may replace it. The broker that wrote it last owns it. Every write is a
// compare-and-swap on the revision of the previous one.
type Pointer struct {
	Version int      `json:"version"`
	Read    []string `json:"read,omitempty"`
	Write   []string `json:"write,omitempty"`

	// Manifest, Size and CRC32C are those of the current manifest's object. A Manifest of "" is
	// none yet: there may be objects that nothing names.
	Manifest string `json:"manifest"`
	Size     int64  `json:"size,omitempty"`
	CRC32C   uint32 `json:"crc32c,omitempty"`
	// StartOffset, EndOffset, LastEpoch and LogStart are those of the manifest: what has to be
	// known of the committed history while the bucket is unreachable.
	StartOffset int64 `json:"start"`
	EndOffset   int64 `json:"end"`
	LastEpoch   int32 `json:"last_epoch"`
	LogStart    int64 `json:"log_start"`

	LeaderEpoch int32 `json:"leader_epoch"`
	BrokerID    int32 `json:"broker_id"`
	// Claim is random for every attachment. It distinguishes two attachments of one leader epoch (a
	// leader that restarts, a write that was reported as failed).
	Claim string `json:"claim"`
	// Fence grows when a swap may still be under way that must not happen any more: this write
	// changes the revision that the swap rests on.
	Fence int64 `json:"fence,omitempty"`
	// CommittedMs is when the manifest became the current one, in unix ms.
	CommittedMs int64 `json:"committed_ms,omitempty"`
	// DeletedMs is when the topic was deleted, in unix ms, 0 if it is not. No leader claims the
	// key after that.
	DeletedMs int64 `json:"deleted_ms,omitempty"`

	unknown document.Unknown
}

func (p *Pointer) gates() (read, write []string) { return p.Read, p.Write }

// Writable returns an ErrReadOnly with the reason if this build must not replace the pointer,
// otherwise nil.
func (p *Pointer) Writable() error { return writable("pointer", p) }

// Name returns the decoded name of the pointer's manifest. It returns false if there is none.
func (p *Pointer) Name() (Name, bool) {
	n, ok := ParseName(p.Manifest)
	return n, ok && n.Kind == KindManifest && n.Sequence > 0
}

// SetManifest makes a manifest, which is stored as the given object, the current one. A manifest of
// sequence 0 is none.
func (p *Pointer) SetManifest(m *Manifest, stored Stored) {
	if m.Sequence == 0 {
		stored = Stored{}
	}
	p.Manifest, p.Size, p.CRC32C = stored.Name, stored.Size, stored.CRC32C
	p.StartOffset, p.EndOffset, p.LastEpoch, p.LogStart = m.StartOffset, m.EndOffset, m.LastEpoch, m.LogStart
}

// Encode returns the value of the pointer's key.
func (p *Pointer) Encode() ([]byte, error) {
	asLater(p)
	if err := p.Writable(); err != nil {
		return nil, err
	}
	p.Version = PointerVersion
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode pointer: %w", err)
	}
	return b, nil
}

// ParsePointer decodes and checks what Encode wrote.
func ParsePointer(b []byte) (*Pointer, error) {
	p := &Pointer{}
	err := decode("pointer", b, p)
	if err != nil || p.Version != PointerVersion {
		var v struct {
			Version uint64 `json:"version"`
		}
		if json.Unmarshal(b, &v) == nil && v.Version != PointerVersion && v.Version != 0 {
			return nil, unsupported("pointer", v.Version, PointerVersion)
		}
	}
	if err != nil {
		return nil, err
	}
	_, named := p.Name()
	switch {
	case p.Version != PointerVersion:
		return nil, fmt.Errorf("%w: pointer version %d", ErrCorrupt, p.Version)
	case p.Manifest != "" && !named:
		return nil, fmt.Errorf("%w: pointer names manifest %q", ErrCorrupt, p.Manifest)
	case named && (p.Size <= 0 || p.Size > MaxDocumentBytes) || p.StartOffset < 0 || p.EndOffset < p.StartOffset:
		return nil, fmt.Errorf("%w: pointer to manifest %q of %d bytes, [%d, %d)", ErrCorrupt, p.Manifest, p.Size, p.StartOffset, p.EndOffset)
	}
	return p, nil
}
