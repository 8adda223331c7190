package record

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// MaxDecompressed bounds what the records of one batch may decompress to, in
// bytes. It is far above what a broker accepts as a batch (message.max.bytes)
// and far below what a machine has.
const MaxDecompressed = 256 << 20

// Record is one record of a batch. Key, Value and Headers alias the batch, or
// the buffer it was decompressed to.
type Record struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte // nil: null
}

// Records yields the records in order, decompressing them if need be. What a
// record aliases stays valid for as long as it is referred to (the batch itself
// must not be written to meanwhile). Malformed records end the iteration with
// an error that wraps ErrCorrupt. The batch must have passed Check or be
// trusted otherwise.
func (b Batch) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		payload := b.Payload()
		if b.Codec() != CodecNone {
			var err error
			if payload, err = b.Decompress(MaxDecompressed); err != nil {
				yield(Record{}, err)
				return
			}
		}
		b.RecordsIn(payload)(yield)
	}
}

// Decompress returns the encoded records without compression, in a buffer of
// their own. More than limit bytes are ErrTooLarge.
func (b Batch) Decompress(limit int) ([]byte, error) {
	payload, err := b.Codec().Decompress(nil, b.Payload(), limit)
	if err != nil {
		return nil, fmt.Errorf("decompress batch at offset %d: %w", b.BaseOffset(), err)
	}
	return payload, nil
}

// RecordsIn is Records for one who has what Decompress returns already.
func (b Batch) RecordsIn(payload []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := reader{rest: payload}
		for i := range b.Count() {
			rec, err := r.record(b)
			if err != nil {
				yield(Record{}, fmt.Errorf("record %d of batch at offset %d: %w", i, b.BaseOffset(), err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
		if len(r.rest) != 0 {
			yield(Record{}, fmt.Errorf("batch at offset %d: %w: %d bytes follow the last of %d records",
				b.BaseOffset(), ErrCorrupt, len(r.rest), b.Count()))
		}
	}
}

// reader cuts fields off the front of a buffer; the first failure sticks.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) record(b Batch) (Record, error) {
	body := reader{rest: r.bytes()}
	if r.bad || body.rest == nil {
		return Record{}, fmt.Errorf("%w: length", ErrCorrupt)
	}
	body.byte() // attributes, unused
	rec := Record{Timestamp: b.BaseTimestamp() + body.varint()}
	delta := body.varint()
	rec.Offset = b.BaseOffset() + delta
	rec.Key = body.bytes()
	rec.Value = body.bytes()
	rec.Headers = body.headers()
	if b.IsLogAppendTime() {
		rec.Timestamp = b.MaxTimestamp()
	}
	switch {
	case body.bad:
		return Record{}, fmt.Errorf("%w: fields run past its end", ErrCorrupt)
	case len(body.rest) != 0:
		return Record{}, fmt.Errorf("%w: %d bytes follow its fields", ErrCorrupt, len(body.rest))
	case delta < 0 || delta > int64(b.LastOffsetDelta()):
		return Record{}, fmt.Errorf("%w: offset delta %d is outside the batch", ErrCorrupt, delta)
	}
	return rec, nil
}

func (r *reader) headers() []Header {
	n := r.varint()
	// A header is two bytes at the least, which bounds what a number may announce.
	if n < 0 || n > int64(len(r.rest)/2) {
		r.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	headers := make([]Header, n)
	for i := range headers {
		key := r.bytes()
		if key == nil {
			r.bad = true
			return nil
		}
		headers[i] = Header{Key: string(key), Value: r.bytes()}
	}
	return headers
}

func (r *reader) byte() {
	if len(r.rest) == 0 {
		r.bad = true
		return
	}
	r.rest = r.rest[1:]
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// bytes cuts off a length and as many bytes; it is nil for a length of -1 and
// empty, not nil, for one of 0.
func (r *reader) bytes() []byte {
	n := r.varint()
	if r.bad || n == -1 {
		return nil
	}
	if n < -1 || n > int64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}
