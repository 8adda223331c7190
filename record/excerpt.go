package record

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Excerpt copies selected records out of batches; compaction uses it. A kept record keeps its
// offset and timestamp. The batch keeps its offsets, producer, epochs, codec and base timestamp:
// the bytes of the kept records are copied, not encoded again. One goroutine uses an Excerpt for
// one batch after another, so the batches share its buffers.
type Excerpt struct {
	from    Batch
	payload []byte // the records of from, decompressed
	kept    []span // ranges of payload; adjacent records are merged
	count   int
	newest  int64 // largest timestamp of the kept records, ms

	unpacked, raw []byte // buffers: decompressed input, uncompressed output
}

// maxIdleBuffer is the largest buffer, in bytes, that is kept for the next batch.
const maxIdleBuffer = 4 << 20

// Entry is the part of a record that decides whether the record is kept.
type Entry struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil: null; valid until the next Begin
	Tombstone bool   // the value is null

	// at is the range of the record in the payload.
	at span
}

// Begin starts a new batch, with no records kept yet. The batch must have passed Check and must not
// change before the next Begin.
func (x *Excerpt) Begin(b Batch) error {
	x.from, x.kept, x.count, x.newest = b, x.kept[:0], 0, NoTimestamp
	x.payload = b.Payload()
	if cap(x.unpacked) > maxIdleBuffer {
		x.unpacked = nil
	}
	if cap(x.raw) > maxIdleBuffer {
		x.raw = nil
	}
	if b.Codec() == CodecNone {
		return nil
	}
	var err error
	if x.unpacked, err = b.Codec().Decompress(x.unpacked[:0], x.payload, MaxDecompressed); err != nil {
		return fmt.Errorf("decompress batch at offset %d: %w", b.BaseOffset(), err)
	}
	x.payload = x.unpacked
	return nil
}

// Entries yields the records in order. Malformed records end the iteration with an error that wraps
// ErrCorrupt.
func (x *Excerpt) Entries() iter.Seq2[Entry, error] { return x.from.EntriesIn(x.payload) }

// Entries yields the records in order without their headers, and decompresses them if needed. It is
// for batches from untrusted clients, where decoding headers could cost too much memory. See
// EntriesIn.
func (b Batch) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		payload := b.Payload()
		if b.Codec() != CodecNone {
			var err error
			if payload, err = b.Decompress(MaxDecompressed); err != nil {
				yield(Entry{}, err)
				return
			}
		}
		b.EntriesIn(payload)(yield)
	}
}

// EntriesIn yields the records of an uncompressed payload in order, without their headers. It
// allocates nothing. Malformed records end the iteration with an error that wraps ErrCorrupt.
func (b Batch) EntriesIn(payload []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		at := 0
		for i := range b.Count() {
			var f fields
			if !f.parse(payload, at) || !f.inside(b) {
				yield(Entry{}, malformed(b, i, "fields run past its end, or its offset is outside the batch"))
				return
			}
			e := Entry{
				Offset: b.BaseOffset() + f.offsetDelta, Timestamp: b.timestamp(f.timestampDelta),
				Key: f.key.of(payload), Tombstone: f.value.null(), at: span{at, f.end},
			}
			at = f.end
			if !yield(e, nil) {
				return
			}
		}
		if at != len(payload) {
			yield(Entry{}, trailing(b, len(payload)-at))
		}
	}
}

// Keep marks the record as kept. The caller calls it in the order of Entries.
func (x *Excerpt) Keep(e Entry) {
	if n := len(x.kept); n > 0 && x.kept[n-1].to == e.at.from {
		x.kept[n-1].to = e.at.to
	} else {
		x.kept = append(x.kept, e.at)
	}
	x.newest = max(x.newest, e.Timestamp)
	x.count++
}

// Kept is the number of records kept so far.
func (x *Excerpt) Kept() int { return x.count }

// Whole reports whether all records are kept.
func (x *Excerpt) Whole() bool { return x.count == int(x.from.Count()) }

// AppendTo appends the batch with the kept records to dst. A horizon other than NoTimestamp, in ms,
// becomes the batch's delete horizon. With NoTimestamp the batch keeps its horizon, if any.
func (x *Excerpt) AppendTo(dst []byte, horizon int64) ([]byte, error) {
	start := len(dst)
	dst = append(dst, x.from[:HeaderSize]...)
	var err error
	if codec := x.from.Codec(); codec == CodecNone {
		dst, err = x.appendRecords(dst, horizon)
	} else if x.raw, err = x.appendRecords(x.raw[:0], horizon); err == nil {
		dst, err = codec.Compress(dst, x.raw, 0)
	}
	if err == nil && len(dst)-start-LogOverhead > math.MaxInt32 {
		err = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(dst)-start)
	}
	if err != nil {
		return dst[:start], fmt.Errorf("take records out of batch at offset %d: %w", x.from.BaseOffset(), err)
	}
	b := Batch(dst[start:])
	binary.BigEndian.PutUint32(b[posBatchLength:], uint32(len(b)-LogOverhead))
	binary.BigEndian.PutUint32(b[posCount:], uint32(x.count))
	if !b.IsLogAppendTime() {
		binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(x.newest))
	}
	if horizon != NoTimestamp {
		binary.BigEndian.PutUint16(b[posAttributes:], uint16(b.attributes()|attrDeleteHorizon))
		binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(horizon))
	}
	b.SetCRC()
	return dst, nil
}

// appendRecords appends the bytes of the kept records. A horizon replaces the base timestamp, so
// every timestamp delta is rewritten relative to it.
func (x *Excerpt) appendRecords(dst []byte, horizon int64) ([]byte, error) {
	for _, k := range x.kept {
		part := x.payload[k.from:k.to]
		if horizon == NoTimestamp {
			dst = append(dst, part...)
			continue
		}
		for at := 0; at < len(part); {
			n, from := varint(part, at)
			if from < 0 || n < 1 || n > int64(len(part)-from) {
				return dst, ErrCorrupt
			}
			body := part[from : from+int(n)]
			at = from + int(n)
			old, n2 := binary.Varint(body[1:])
			if n2 <= 0 {
				return dst, ErrCorrupt
			}
			var delta [binary.MaxVarintLen64]byte
			m := binary.PutVarint(delta[:], x.from.BaseTimestamp()+old-horizon)
			dst = binary.AppendVarint(dst, int64(len(body)-n2+m))
			dst = append(dst, body[0])
			dst = append(dst, delta[:m]...)
			dst = append(dst, body[1+n2:]...)
		}
	}
	return dst, nil
}

// AppendEmpty appends a batch with the offsets, producer and epochs of b but no records. Compaction
// leaves such a batch to preserve a producer's sequence numbers or the offsets themselves.
func AppendEmpty(dst []byte, b Batch) []byte {
	start := len(dst)
	dst = append(dst, b[:HeaderSize]...)
	e := Batch(dst[start:])
	binary.BigEndian.PutUint32(e[posBatchLength:], HeaderSize-LogOverhead)
	binary.BigEndian.PutUint16(e[posAttributes:], uint16(e.attributes()&^(attrCodec|attrDeleteHorizon)))
	noTimestamp := NoTimestamp
	binary.BigEndian.PutUint64(e[posBaseTimestamp:], uint64(noTimestamp))
	binary.BigEndian.PutUint32(e[posCount:], 0)
	e.SetCRC()
	return dst
}
