package format

import (
	"encoding/binary"
	"fmt"
)

// PartType is the type of a part of a segment object.
type PartType uint16

// The types of parts. A number is never reused.
const (
	PartSnapshot PartType = iota + 1
	PartEpochs
	PartTxnIndex
	PartTimeIndex
	PartOffsetIndex
	PartDescription
	PartDirectory
)

// String returns the part's name.
func (t PartType) String() string {
	names := [...]string{"", "producer snapshot", "leader epochs", "transaction index", "time index", "offset index", "description", "chunk directory"}
	if t == 0 || int(t) >= len(names) {
		return fmt.Sprintf("part %d", uint16(t))
	}
	return names[t]
}

func (t PartType) isKnown() bool { return t >= PartSnapshot && t <= PartDirectory }

// PartCritical is the flag of a part without which the other parts must not be read.
const PartCritical = 1 << 0

const (
	// TrailerSize is the size of the trailer at the end of every segment object, from which the
	// rest is found.
	TrailerSize = 32

	tableEntrySize = 32
	objectVersion  = 2
	objectMagic    = "VARVESEG"

	posTrailerVersion  = 16
	posTrailerChecksum = 20
	posTrailerMagic    = 24
)

// Limits of what an object may announce, so that a decoder never allocates on an untrusted size.
const (
	maxObjectBytes = 1 << 43
	maxPartBytes   = 512 << 20
	maxParts       = 1 << 10
	minHotBytes    = TrailerSize + 2*tableEntrySize
)

// Part is an entry of the part table. Position counts from the segment's first byte.
type Part struct {
	Type     PartType
	Flags    uint16
	CRC32C   uint32
	Position int64
	Bytes    int64
}

// End returns the position after the part.
func (p *Part) End() int64 { return p.Position + p.Bytes }

// Layout arranges the parts after the log bytes of a segment object.
type Layout struct {
	parts    []Part
	position int64
}

// NewLayout returns a layout that begins after logBytes bytes of log in the object.
func NewLayout(logBytes int64) *Layout { return &Layout{position: logBytes} }

// Add adds a part after those already added.
func (l *Layout) Add(t PartType, flags uint16, bytes int64, crc uint32) {
	l.parts = append(l.parts, Part{Type: t, Flags: flags, CRC32C: crc, Position: l.position, Bytes: bytes})
	l.position += bytes
}

// End returns the part table and the trailer, which follow the last part.
func (l *Layout) End() []byte {
	be := binary.BigEndian
	b := make([]byte, 0, len(l.parts)*tableEntrySize+TrailerSize)
	for _, p := range l.parts {
		b = be.AppendUint16(b, uint16(p.Type))
		b = be.AppendUint16(b, p.Flags)
		b = be.AppendUint32(b, p.CRC32C)
		b = be.AppendUint64(b, uint64(p.Position))
		b = be.AppendUint64(b, uint64(p.Bytes))
		b = be.AppendUint64(b, 0)
	}
	table := Checksum(b)
	trailer := len(b)
	b = be.AppendUint64(b, uint64(l.position))
	b = be.AppendUint32(b, uint32(len(l.parts)))
	b = be.AppendUint32(b, table)
	b = be.AppendUint16(b, objectVersion)
	b = be.AppendUint16(b, TrailerSize)
	b = be.AppendUint32(b, Checksum(b[trailer:]))
	return append(b, objectMagic...)
}

// Trailer is the decoded trailer of a segment object.
type Trailer struct {
	TablePosition int64
	Parts         int
	TableCRC32C   uint32
}

// ParseTrailer decodes the last TrailerSize bytes of a segment. objectBytes is the segment's size
// in its object.
func ParseTrailer(b []byte, objectBytes int64) (Trailer, error) {
	be := binary.BigEndian
	bad := func(what string) (Trailer, error) { return Trailer{}, fmt.Errorf("%w: trailer: %s", ErrCorrupt, what) }
	switch {
	case len(b) != TrailerSize || objectBytes < TrailerSize:
		return bad(fmt.Sprintf("%d of %d bytes", len(b), objectBytes))
	case string(b[posTrailerMagic:]) != objectMagic:
		return bad("there is none")
	case be.Uint16(b[posTrailerVersion:]) != objectVersion:
		return Trailer{}, unsupported("segment object", uint64(be.Uint16(b[posTrailerVersion:])), objectVersion)
	case be.Uint16(b[posTrailerVersion+2:]) != TrailerSize:
		return bad("its size")
	case be.Uint32(b[posTrailerChecksum:]) != Checksum(b[:posTrailerChecksum]):
		return bad("its checksum")
	}
	position, parts := be.Uint64(b), be.Uint32(b[8:])
	if objectBytes > maxObjectBytes || parts > maxParts || position > uint64(objectBytes) ||
		int64(position)+int64(parts)*tableEntrySize != objectBytes-TrailerSize {
		return bad(fmt.Sprintf("%d parts at %d of %d bytes", parts, position, objectBytes))
	}
	return Trailer{TablePosition: int64(position), Parts: int(parts), TableCRC32C: be.Uint32(b[12:])}, nil
}

// ParseTable decodes the part table: the bytes from TablePosition to the trailer.
func (t Trailer) ParseTable(b []byte) ([]Part, error) {
	if len(b) != t.Parts*tableEntrySize || Checksum(b) != t.TableCRC32C {
		return nil, fmt.Errorf("%w: part table of %d bytes with checksum %08x, want %d with %08x",
			ErrCorrupt, len(b), Checksum(b), t.Parts*tableEntrySize, t.TableCRC32C)
	}
	be := binary.BigEndian
	parts := make([]Part, t.Parts)
	seen := map[PartType]bool{}
	for i := range parts {
		e := b[i*tableEntrySize:]
		position, bytes := be.Uint64(e[8:]), be.Uint64(e[16:])
		p := Part{Type: PartType(be.Uint16(e)), Flags: be.Uint16(e[2:]), CRC32C: be.Uint32(e[4:]), Position: int64(position), Bytes: int64(bytes)}
		switch {
		case !p.Type.isKnown() && p.Flags&PartCritical != 0:
			return nil, fmt.Errorf("%w: segment object has the critical %s: upgrade this broker", ErrUnsupportedFormat, p.Type)
		case bytes > maxPartBytes || position > uint64(t.TablePosition) || p.End() > t.TablePosition:
			return nil, fmt.Errorf("%w: %s at %d with %d bytes", ErrCorrupt, p.Type, position, bytes)
		case p.Type.isKnown() && seen[p.Type]:
			return nil, fmt.Errorf("%w: %s is there twice", ErrCorrupt, p.Type)
		}
		seen[p.Type] = true
		parts[i] = p
	}
	return parts, nil
}

// epochSize is the size of an encoded leader epoch: epoch int32, start offset int64.
const epochSize = 12

// AppendEpochs appends the encoded leader epochs to dst.
func AppendEpochs(dst []byte, epochs []Epoch) []byte {
	for _, e := range epochs {
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.LeaderEpoch()))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.StartOffset()))
	}
	return dst
}

// ParseEpochs is the reverse of AppendEpochs.
func ParseEpochs(b []byte) ([]Epoch, error) {
	if len(b)%epochSize != 0 {
		return nil, fmt.Errorf("%w: leader epochs of %d bytes", ErrCorrupt, len(b))
	}
	epochs := make([]Epoch, len(b)/epochSize)
	for i := range epochs {
		e := b[i*epochSize:]
		epochs[i] = Epoch{int64(int32(binary.BigEndian.Uint32(e))), int64(binary.BigEndian.Uint64(e[4:]))}
	}
	return epochs, nil
}
