package format

import (
	"encoding/json"
	"fmt"

	"github.com/varvelog/varve/document"
)

// PointerVersion is the version of the pointer's format. Version 1 was that of builds that were
// never released.
const PointerVersion = 2

// Pointer is the value of tier/<topic id>/<partition>: which manifest is the current one, what is
// in it, and who may replace it. The broker that wrote it last owns it; every write is a
// compare-and-swap on the revision of the one before.
type Pointer struct {
	Version int      `json:"version"`
	Read    []string `json:"read,omitempty"`
	Write   []string `json:"write,omitempty"`

	// Manifest, Size and CRC32C are the object of the current manifest. A Manifest of "" is none yet:
	// objects may be there that nothing names.
	Manifest string `json:"manifest"`
	Size     int64  `json:"size,omitempty"`
	CRC32C   uint32 `json:"crc32c,omitempty"`
	// StartOffset, EndOffset, LastEpoch and LogStart are those of the manifest: what has to be known
	// of the committed history while the bucket is away.
	StartOffset int64 `json:"start"`
	EndOffset   int64 `json:"end"`
	LastEpoch   int32 `json:"last_epoch"`
	LogStart    int64 `json:"log_start"`

	LeaderEpoch int32 `json:"leader_epoch"`
	BrokerID    int32 `json:"broker_id"`
	// Claim is drawn by every attachment, so that two of the same epoch (a leader that restarts, a
	// write that was reported as failed) are told apart.
	Claim string `json:"claim"`
	// Fence grows when a swap may still be under way that must not happen any more: the write changes
	// the revision that the swap was made on.
	Fence int64 `json:"fence,omitempty"`
	// CommittedMs is when the manifest was made the current one.
	CommittedMs int64 `json:"committed_ms,omitempty"`
	// DeletedMs is since when the topic is gone, 0 if it is not. No leader claims the key any more.
	DeletedMs int64 `json:"deleted_ms,omitempty"`

	unknown document.Unknown
}

func (p *Pointer) gates() (read, write []string) { return p.Read, p.Write }

// Writable is an ErrReadOnly that says why this build must not replace the pointer, or nil.
func (p *Pointer) Writable() error { return writable("pointer", p) }

// Name says what the name of the pointer's manifest does; false: there is none.
func (p *Pointer) Name() (Name, bool) {
	n, ok := ParseName(p.Manifest)
	return n, ok && n.Kind == KindManifest && n.Sequence > 0
}

// SetManifest makes the manifest, which is stored as that object, the current one. A manifest of
// sequence 0 is none.
func (p *Pointer) SetManifest(m *Manifest, stored Stored) {
	if m.Sequence == 0 {
		stored = Stored{}
	}
	p.Manifest, p.Size, p.CRC32C = stored.Name, stored.Size, stored.CRC32C
	p.StartOffset, p.EndOffset, p.LastEpoch, p.LogStart = m.StartOffset, m.EndOffset, m.LastEpoch, m.LogStart
}

// Encode is the value of the pointer's key.
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

// ParsePointer reads and checks what Encode wrote.
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
