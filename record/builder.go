package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Builder builds one batch of records. The zero value builds an uncompressed batch without a
// producer. Set the fields before the first Append. Only one goroutine may use a Builder at a time.
type Builder struct {
	Codec         Codec
	Level         int // compression level; 0 is the codec's default
	BaseOffset    int64
	LeaderEpoch   int32
	ProducerID    int64 // used if HasProducer is set, as the next two
	ProducerEpoch int16
	BaseSequence  int32
	HasProducer   bool
	Transactional bool
	Control       bool
	LogAppendTime bool

	payload  []byte
	scratch  []byte
	count    int32
	last     int64 // offset delta of the last record
	base     int64 // timestamp of the first record, ms
	max      int64 // largest timestamp, ms
	overflow error // the latest error of AppendAt, returned by Build
}

// Append adds a record at the offset after the previous one. ts is in ms.
func (b *Builder) Append(ts int64, key, value []byte, headers ...Header) {
	next := b.BaseOffset
	if b.count > 0 {
		next += b.last + 1
	}
	b.AppendAt(next, ts, key, value, headers...)
}

// AppendAt adds a record at an offset above the previous one, possibly with a gap as compaction
// leaves it. ts is in ms. key, value and headers are copied.
func (b *Builder) AppendAt(offset, ts int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.base, b.max = ts, ts
	}
	b.max = max(b.max, ts)
	b.last = offset - b.BaseOffset
	if b.last < 0 || b.last > math.MaxInt32 {
		b.overflow = fmt.Errorf("offset %d does not fit a batch at %d", offset, b.BaseOffset)
	}
	s := b.scratch[:0]
	s = append(s, 0)
	s = binary.AppendVarint(s, ts-b.base)
	s = binary.AppendVarint(s, b.last)
	s = appendBytes(s, key)
	s = appendBytes(s, value)
	s = binary.AppendVarint(s, int64(len(headers)))
	for _, h := range headers {
		s = binary.AppendVarint(s, int64(len(h.Key)))
		s = append(s, h.Key...)
		s = appendBytes(s, h.Value)
	}
	b.scratch = s
	b.payload = binary.AppendVarint(b.payload, int64(len(s)))
	b.payload = append(b.payload, s...)
	b.count++
}

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Size is the length of the batch in bytes before compression.
func (b *Builder) Size() int { return HeaderSize + len(b.payload) }

// Reset drops the records but keeps the settings and the buffers.
func (b *Builder) Reset() {
	b.payload = b.payload[:0]
	b.count, b.last, b.base, b.max, b.overflow = 0, 0, 0, 0, nil
}

// Build returns the batch in a buffer of its own. It fails if there are no records, if an offset
// was out of range, or if the codec is unknown.
func (b *Builder) Build() (Batch, error) {
	if b.overflow != nil {
		return nil, fmt.Errorf("build batch: %w", b.overflow)
	}
	if b.count == 0 {
		return nil, fmt.Errorf("build batch: %w: no records", ErrCorrupt)
	}
	out := make([]byte, HeaderSize, HeaderSize+len(b.payload))
	out, err := b.Codec.Compress(out, b.payload, b.Level)
	if err != nil {
		return nil, fmt.Errorf("build batch: %w", err)
	}
	if len(out)-LogOverhead > math.MaxInt32 {
		return nil, fmt.Errorf("build batch: %w: %d bytes", ErrTooLarge, len(out))
	}
	be := binary.BigEndian
	be.PutUint64(out[posBaseOffset:], uint64(b.BaseOffset))
	be.PutUint32(out[posBatchLength:], uint32(len(out)-LogOverhead))
	be.PutUint32(out[posLeaderEpoch:], uint32(b.LeaderEpoch))
	out[posMagic] = MagicV2
	be.PutUint16(out[posAttributes:], b.attributes())
	be.PutUint32(out[posLastOffsetDelta:], uint32(b.last))
	be.PutUint64(out[posBaseTimestamp:], uint64(b.base))
	be.PutUint64(out[posMaxTimestamp:], uint64(b.max))
	id, epoch, sequence := NoProducerID, NoProducerEpoch, NoSequence
	if b.HasProducer {
		id, epoch, sequence = b.ProducerID, b.ProducerEpoch, b.BaseSequence
	}
	be.PutUint64(out[posProducerID:], uint64(id))
	be.PutUint16(out[posProducerEpoch:], uint16(epoch))
	be.PutUint32(out[posBaseSequence:], uint32(sequence))
	be.PutUint32(out[posCount:], uint32(b.count))
	batch := Batch(out)
	batch.SetCRC()
	return batch, nil
}

func (b *Builder) attributes() uint16 {
	a := uint16(b.Codec)
	for bit, set := range map[uint16]bool{
		attrLogAppendTime: b.LogAppendTime, attrTransactional: b.Transactional, attrControl: b.Control,
	} {
		if set {
			a |= bit
		}
	}
	return a
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}
