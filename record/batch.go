package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Sizes of the fixed parts of an encoded batch, in bytes.
const (
	// HeaderSize is the number of bytes before the first record.
	HeaderSize = 61
	// LogOverhead is the size of the base offset and length fields, which batchLength leaves out.
	LogOverhead = 12
	// MagicV2 is the only batch format that is stored (KIP-98).
	MagicV2 = 2
)

// Positions of the fields in an encoded batch, in bytes. The layout is drawn in doc.go.
const (
	posBaseOffset      = 0
	posBatchLength     = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57
)

// Bits of the attributes field.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

// NoProducerID, NoProducerEpoch and NoSequence fill the producer fields of a batch that was not
// written by an idempotent producer.
const (
	NoProducerID    int64 = -1
	NoProducerEpoch int16 = -1
	NoSequence      int32 = -1
)

// NoTimestamp is the timestamp of a batch or a log without one.
const NoTimestamp int64 = -1

// Errors of this package. Callers wrap them with the place of the batch.
var (
	// ErrTruncated reports that the bytes end before the batch does.
	ErrTruncated = errors.New("record batch is truncated")
	// ErrCorrupt reports that the bytes cannot be a batch, or that the checksum is wrong.
	ErrCorrupt = errors.New("record batch is corrupt")
	// ErrChecksum reports a batch whose checksum does not match its content. It wraps ErrCorrupt.
	ErrChecksum = fmt.Errorf("%w", ErrCorrupt)
	// ErrMagic reports a batch in a format other than v2.
	ErrMagic = errors.New("unsupported record batch magic")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one whole encoded record batch v2, from its base offset to its last byte. It is a view:
// the accessors read the bytes and the Set methods write them in place. The CRC covers neither the
// base offset nor the leader epoch, so a broker assigns both without recomputing it.
type Batch []byte

// Split cuts the first batch off buf. The batch aliases buf. Split checks only what it needs to
// find the end. It returns ErrTruncated if buf (even an empty one) ends before the batch, ErrMagic
// for an older format, and ErrCorrupt for a length that no batch can have.
func Split(buf []byte) (b Batch, rest []byte, err error) {
	if len(buf) < posMagic+1 {
		return nil, buf, ErrTruncated
	}
	length := int32(binary.BigEndian.Uint32(buf[posBatchLength:]))
	if magic := buf[posMagic]; magic != MagicV2 {
		return nil, buf, fmt.Errorf("%w %d, want %d", ErrMagic, magic, MagicV2)
	}
	if length < HeaderSize-LogOverhead {
		return nil, buf, fmt.Errorf("%w: length %d is below the header's", ErrCorrupt, length)
	}
	size := int64(length) + LogOverhead
	if size > int64(len(buf)) {
		return nil, buf, ErrTruncated
	}
	return Batch(buf[:size:size]), buf[size:], nil
}

// Check verifies the structure and the CRC32C of the whole batch, but not the records inside. The
// error wraps ErrMagic or ErrCorrupt.
func (b Batch) Check() error {
	if err := b.CheckHeader(); err != nil {
		return err
	}
	return b.checkSum(b.ComputeCRC())
}

// CheckHeader is Check without the checksum. The error wraps ErrMagic or ErrCorrupt.
func (b Batch) CheckHeader() error {
	switch {
	case len(b) < HeaderSize:
		return fmt.Errorf("%w: %d bytes are less than a header", ErrCorrupt, len(b))
	case b.Magic() != MagicV2:
		return fmt.Errorf("%w %d, want %d", ErrMagic, b.Magic(), MagicV2)
	case b.Size() != len(b):
		return fmt.Errorf("%w: length field says %d bytes, batch has %d", ErrCorrupt, b.Size(), len(b))
	case b.Codec() > CodecZstd:
		return fmt.Errorf("%w: unknown codec %d", ErrCorrupt, b.Codec())
	case b.LastOffsetDelta() < 0 || b.Count() < 0:
		return fmt.Errorf("%w: last offset delta %d, count %d", ErrCorrupt, b.LastOffsetDelta(), b.Count())
	}
	return nil
}

func (b Batch) checkSum(sum uint32) error {
	if sum != b.CRC() {
		return fmt.Errorf("%w: CRC is %#08x, content has %#08x", ErrChecksum, b.CRC(), sum)
	}
	return nil
}

// Size is the length of the whole batch in bytes, as stated by its length field.
func (b Batch) Size() int {
	return int(int32(binary.BigEndian.Uint32(b[posBatchLength:]))) + LogOverhead
}

// BaseOffset is the offset of the first record. After compaction that record may be missing.
func (b Batch) BaseOffset() int64 { return b.int64(posBaseOffset) }

// SetBaseOffset assigns the offset of the first record; the CRC stays valid.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(offset))
}

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return b.int32(posLeaderEpoch) }

// SetLeaderEpoch assigns the leader epoch; the CRC stays valid.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// Magic is the format version; see MagicV2.
func (b Batch) Magic() int8 { return int8(b[posMagic]) }

// CRC is the stored CRC32C of every byte from the attributes on.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// ComputeCRC computes the checksum of the current content, which CRC should equal.
func (b Batch) ComputeCRC() uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

// Codec is the compression of the records.
func (b Batch) Codec() Codec { return Codec(b.attributes() & attrCodec) }

// IsLogAppendTime reports whether the broker's clock assigned the timestamps. MaxTimestamp is then
// the timestamp of every record.
func (b Batch) IsLogAppendTime() bool { return b.attributes()&attrLogAppendTime != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.attributes()&attrTransactional != 0 }

// IsControl reports whether the batch holds a control record (a transaction marker).
func (b Batch) IsControl() bool { return b.attributes()&attrControl != 0 }

// HasDeleteHorizon reports whether BaseTimestamp is the delete horizon: the time from which
// compaction may drop the batch's tombstones (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.attributes()&attrDeleteHorizon != 0 }

// LastOffsetDelta is the offset of the last record relative to BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return b.int32(posLastOffsetDelta) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset after the last one of the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// BaseTimestamp is the time that the records' timestamp deltas are relative to, in ms.
func (b Batch) BaseTimestamp() int64 { return b.int64(posBaseTimestamp) }

// MaxTimestamp is the largest timestamp in the batch, in ms.
func (b Batch) MaxTimestamp() int64 { return b.int64(posMaxTimestamp) }

// SetLogAppendTime assigns the timestamp ms to every record and recomputes the CRC.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(b.attributes()|attrLogAppendTime))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
	b.SetCRC()
}

// SetMaxTimestamp sets the largest timestamp in the batch, in ms. The CRC is invalid until SetCRC
// is called.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ms))
}

// AppendRecompressed appends the batch to dst with its records compressed by another codec. records
// are the uncompressed records of the batch. Only the length, the codec bits and the CRC change.
func (b Batch) AppendRecompressed(dst, records []byte, codec Codec, level int) ([]byte, error) {
	start := len(dst)
	dst = append(dst, b[:HeaderSize]...)
	dst, err := codec.Compress(dst, records, level)
	if err != nil {
		return nil, fmt.Errorf("compress batch with %v: %w", codec, err)
	}
	size := len(dst) - start
	if int64(size) > math.MaxInt32 {
		return nil, fmt.Errorf("compress batch with %v: %w: %d bytes", codec, ErrTooLarge, size)
	}
	out := Batch(dst[start:])
	binary.BigEndian.PutUint32(out[posBatchLength:], uint32(size-LogOverhead))
	binary.BigEndian.PutUint16(out[posAttributes:], uint16(out.attributes())&^attrCodec|uint16(codec))
	out.SetCRC()
	return dst, nil
}

// SetCRC stores the checksum of the current content.
func (b Batch) SetCRC() { binary.BigEndian.PutUint32(b[posCRC:], b.ComputeCRC()) }

// ProducerID identifies an idempotent producer, or is NoProducerID.
func (b Batch) ProducerID() int64 { return b.int64(posProducerID) }

// HasProducer reports whether an idempotent producer wrote the batch.
func (b Batch) HasProducer() bool { return b.ProducerID() > NoProducerID }

// ProducerEpoch is the epoch of the producer id. A higher one fences earlier incarnations.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[posProducerEpoch:])) }

// BaseSequence is the producer's sequence number of the first record, or NoSequence.
func (b Batch) BaseSequence() int32 { return b.int32(posBaseSequence) }

// LastSequence is the producer's sequence number of the last record, or NoSequence if BaseSequence
// is. Sequences wrap from the largest int32 to 0.
func (b Batch) LastSequence() int32 {
	first := b.BaseSequence()
	if first == NoSequence {
		return NoSequence
	}
	return int32((int64(first) + int64(b.LastOffsetDelta())) & 0x7fffffff)
}

// Count is the number of records.
func (b Batch) Count() int32 { return b.int32(posCount) }

// Payload is the encoded records, which may be compressed. It aliases the batch.
func (b Batch) Payload() []byte { return b[HeaderSize:] }

func (b Batch) attributes() int16   { return int16(binary.BigEndian.Uint16(b[posAttributes:])) }
func (b Batch) int32(pos int) int32 { return int32(binary.BigEndian.Uint32(b[pos:])) }
func (b Batch) int64(pos int) int64 { return int64(binary.BigEndian.Uint64(b[pos:])) }
