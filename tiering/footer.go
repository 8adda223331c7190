package tiering

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varvelog/varve/metadata"
)

// The footer of a segment object; doc.go draws it.
const (
	footerSize    = 216
	footerVersion = 1
	footerMagic   = "VARVESEG"

	posParts    = 80
	partSize    = 20
	posVersion  = 200
	posChecksum = 204
	posMagic    = 208
)

// Limits of what a footer may announce, so that a decoder never allocates by a
// stranger's word.
const (
	minChunkBytes = 4 << 10
	maxChunkBytes = 256 << 20
	maxTailBytes  = 512 << 20
)

// The parts of a segment object that follow the log bytes, in their order.
const (
	partOffsetIndex = iota
	partTimeIndex
	partTxnIndex
	partEpochs
	partSnapshot
	partChunks
	partCount
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part is where one part of a segment object is.
type part struct {
	position int64
	length   int64
	checksum uint32 // CRC32C
}

// footer describes a segment object. With it an object can be read, and a
// partition rebuilt, without any manifest.
type footer struct {
	topicID      metadata.TopicID
	partition    int32
	leaderEpoch  int32 // of the leader that uploaded
	baseOffset   int64 // of the first batch, what the indexes are relative to
	startOffset  int64 // first offset that the object serves
	endOffset    int64
	maxTimestamp int64
	createdMs    int64
	chunkBytes   int32
	logBytes     int64
	parts        [partCount]part
}

// chunkCount is how many chunks the log bytes have; the last may be short.
func (f *footer) chunkCount() int {
	return int((f.logBytes + int64(f.chunkBytes) - 1) / int64(f.chunkBytes))
}

// objectBytes is the size of the whole object.
func (f *footer) objectBytes() int64 {
	last := f.parts[partCount-1]
	return last.position + last.length + footerSize
}

// append adds the encoded footer to dst.
func (f *footer) append(dst []byte) []byte {
	be := binary.BigEndian
	b := make([]byte, footerSize)
	copy(b, f.topicID[:])
	be.PutUint32(b[16:], uint32(f.partition))
	be.PutUint32(b[20:], uint32(f.leaderEpoch))
	be.PutUint64(b[24:], uint64(f.baseOffset))
	be.PutUint64(b[32:], uint64(f.startOffset))
	be.PutUint64(b[40:], uint64(f.endOffset))
	be.PutUint64(b[48:], uint64(f.maxTimestamp))
	be.PutUint64(b[56:], uint64(f.createdMs))
	be.PutUint32(b[64:], uint32(f.chunkBytes))
	be.PutUint64(b[72:], uint64(f.logBytes))
	for i, p := range f.parts {
		at := b[posParts+i*partSize:]
		be.PutUint64(at, uint64(p.position))
		be.PutUint64(at[8:], uint64(p.length))
		be.PutUint32(at[16:], p.checksum)
	}
	be.PutUint16(b[posVersion:], footerVersion)
	be.PutUint16(b[posVersion+2:], footerSize)
	copy(b[posMagic:], footerMagic)
	be.PutUint32(b[posChecksum:], crc32.Checksum(b[:posChecksum], castagnoli))
	return append(dst, b...)
}

// parseFooter reads the last bytes of an object; b is exactly footerSize long.
func parseFooter(b []byte) (footer, error) {
	be := binary.BigEndian
	switch {
	case len(b) != footerSize:
		return footer{}, fmt.Errorf("%w: footer has %d bytes, want %d", ErrCorrupt, len(b), footerSize)
	case string(b[posMagic:]) != footerMagic:
		return footer{}, fmt.Errorf("%w: no footer where one should be", ErrCorrupt)
	case be.Uint16(b[posVersion:]) > footerVersion:
		return footer{}, fmt.Errorf("%w: footer version %d", ErrUnsupportedFormat, be.Uint16(b[posVersion:]))
	case be.Uint16(b[posVersion:]) != footerVersion, be.Uint16(b[posVersion+2:]) != footerSize, be.Uint32(b[68:]) != 0:
		return footer{}, fmt.Errorf("%w: footer version %d of %d bytes", ErrCorrupt, be.Uint16(b[posVersion:]), be.Uint16(b[posVersion+2:]))
	case be.Uint32(b[posChecksum:]) != crc32.Checksum(b[:posChecksum], castagnoli):
		return footer{}, fmt.Errorf("%w: checksum of the footer", ErrCorrupt)
	}
	f := footer{
		partition:    int32(be.Uint32(b[16:])),
		leaderEpoch:  int32(be.Uint32(b[20:])),
		baseOffset:   int64(be.Uint64(b[24:])),
		startOffset:  int64(be.Uint64(b[32:])),
		endOffset:    int64(be.Uint64(b[40:])),
		maxTimestamp: int64(be.Uint64(b[48:])),
		createdMs:    int64(be.Uint64(b[56:])),
		chunkBytes:   int32(be.Uint32(b[64:])),
		logBytes:     int64(be.Uint64(b[72:])),
	}
	copy(f.topicID[:], b)
	for i := range f.parts {
		at := b[posParts+i*partSize:]
		f.parts[i] = part{int64(be.Uint64(at)), int64(be.Uint64(at[8:])), be.Uint32(at[16:])}
	}
	return f, f.validate()
}

// validate checks what must hold of any footer, whoever wrote it.
func (f *footer) validate() error {
	bad := func(what string) error { return fmt.Errorf("%w: footer: %s", ErrCorrupt, what) }
	switch {
	case f.chunkBytes < minChunkBytes || f.chunkBytes > maxChunkBytes:
		return bad("chunk size")
	case f.baseOffset < 0 || f.startOffset < f.baseOffset || f.endOffset <= f.startOffset:
		return bad("offsets")
	case f.logBytes <= 0 || f.logBytes > 1<<40:
		return bad("length of the log")
	}
	position := f.logBytes
	for _, p := range f.parts {
		if p.position != position || p.length < 0 || p.length > maxTailBytes {
			return bad("parts")
		}
		position += p.length
	}
	if position-f.logBytes > maxTailBytes {
		return bad("parts")
	}
	if f.parts[partOffsetIndex].length%8 != 0 || f.parts[partTimeIndex].length%12 != 0 ||
		f.parts[partEpochs].length%epochSize != 0 || f.parts[partChunks].length != int64(f.chunkCount())*4 {
		return bad("length of a part")
	}
	return nil
}
