package format

import (
	"encoding/binary"
	"fmt"
	"sort"
)

const (
	directoryHeaderSize = 8
	directoryEntrySize  = 48
)

// Chunk is an entry of the chunk directory: consecutive batches, which are stored, checked and
// read together.
type Chunk struct {
	Position    int64 // of its first byte, from the segment's first byte
	StoredBytes int   // its size in the object
	PlainBytes  int   // its size in the log
	BaseOffset  int64 // of its first batch
	// MaxTimestamp is the largest of all batches of the segment up to the end of this chunk; -1: no
	// batch has one.
	MaxTimestamp int64
	CRC32C       uint32 // of the stored bytes
	Batches      int
}

// End returns the position after the chunk.
func (c *Chunk) End() int64 { return c.Position + int64(c.StoredBytes) }

// Directory is the chunk directory of a segment object, in offset order.
type Directory []Chunk

// AtOffset returns the chunk with the batch that contains an offset, if there is such a batch.
// Otherwise the first batch after the offset is in that chunk or in the next one.
func (d Directory) AtOffset(offset int64) int {
	return max(0, sort.Search(len(d), func(i int) bool { return d[i].BaseOffset > offset })-1)
}

// AtTime returns the first chunk with a batch whose largest timestamp is ts or later, len(d) if
// there is none.
func (d Directory) AtTime(ts int64) int {
	return sort.Search(len(d), func(i int) bool { return d[i].MaxTimestamp >= ts })
}

// Append appends the encoded directory to dst.
func (d Directory) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(len(d)))
	dst = be.AppendUint16(dst, directoryEntrySize)
	dst = be.AppendUint16(dst, 0)
	for _, c := range d {
		dst = be.AppendUint64(dst, uint64(c.Position))
		dst = be.AppendUint32(dst, uint32(c.StoredBytes))
		dst = be.AppendUint32(dst, uint32(c.PlainBytes))
		dst = be.AppendUint64(dst, uint64(c.BaseOffset))
		dst = be.AppendUint64(dst, uint64(c.MaxTimestamp))
		dst = be.AppendUint32(dst, c.CRC32C)
		dst = be.AppendUint32(dst, uint32(c.Batches))
		dst = be.AppendUint64(dst, 0)
	}
	return dst
}

// parseDirectory decodes and checks what Append wrote.
func parseDirectory(b []byte) (Directory, error) {
	bad := func(what string) error { return fmt.Errorf("%w: chunk directory: %s", ErrCorrupt, what) }
	if len(b) < directoryHeaderSize {
		return nil, bad("it has no header")
	}
	be := binary.BigEndian
	n, size, flags := int64(be.Uint32(b)), int64(be.Uint16(b[4:])), be.Uint16(b[6:])
	switch {
	case flags != 0:
		return nil, fmt.Errorf("%w: chunk directory with flags %#x: upgrade this broker", ErrUnsupportedFormat, flags)
	case n == 0 || size < directoryEntrySize || n*size != int64(len(b)-directoryHeaderSize):
		return nil, bad("its size")
	}
	d := make(Directory, n)
	for i := range d {
		e := b[directoryHeaderSize+int64(i)*size:]
		c := Chunk{
			Position:     int64(be.Uint64(e)),
			StoredBytes:  int(be.Uint32(e[8:])),
			PlainBytes:   int(be.Uint32(e[12:])),
			BaseOffset:   int64(be.Uint64(e[16:])),
			MaxTimestamp: int64(be.Uint64(e[24:])),
			CRC32C:       be.Uint32(e[32:]),
			Batches:      int(be.Uint32(e[36:])),
		}
		if c.Position < 0 || c.Position > maxObjectBytes || c.BaseOffset < 0 || c.StoredBytes == 0 || c.PlainBytes == 0 || c.Batches == 0 {
			return nil, bad(fmt.Sprintf("chunk %d", i))
		}
		if i > 0 && (c.Position < d[i-1].End() || c.BaseOffset <= d[i-1].BaseOffset || c.MaxTimestamp < d[i-1].MaxTimestamp) {
			return nil, bad(fmt.Sprintf("order of chunk %d", i))
		}
		d[i] = c
	}
	return d, nil
}
