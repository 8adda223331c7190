package record

import (
	"fmt"
	"iter"
)

// MaxDecompressed is the largest decompressed size of one batch's records, in bytes. It is far
// above the largest batch that a broker accepts (message.max.bytes) and far below the memory of a
// machine.
const MaxDecompressed = 256 << 20

// Record is one record of a batch. Key, Value and Headers alias the batch, or the buffer that it
// was decompressed to.
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

// Records yields the records in order, and decompresses them if needed. Headers take up to 20 times
// as much memory as their bytes, so for batches from untrusted clients a broker uses Entries or
// Survey. The memory that a record aliases stays valid as long as it is referenced, but the batch
// must not be written in that time. Malformed records end the iteration with an error that wraps
// ErrCorrupt. The batch must have passed Check or be trusted otherwise.
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

// Decompress returns the encoded records without compression, in a buffer of their own. It returns
// ErrTooLarge if they exceed limit bytes.
func (b Batch) Decompress(limit int) ([]byte, error) {
	payload, err := b.Codec().Decompress(nil, b.Payload(), limit)
	if err != nil {
		return nil, fmt.Errorf("decompress batch at offset %d: %w", b.BaseOffset(), err)
	}
	return payload, nil
}

// RecordsIn is Records for a caller that already has the result of Decompress.
func (b Batch) RecordsIn(payload []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		at := 0
		for i := range b.Count() {
			var f fields
			if !f.parse(payload, at) || !f.parseHeaders(payload) || !f.inside(b) {
				yield(Record{}, malformed(b, i, "it is not as long as its fields, or its offset is outside the batch"))
				return
			}
			at = f.end
			rec := Record{
				Offset: b.BaseOffset() + f.offsetDelta, Timestamp: b.timestamp(f.timestampDelta),
				Key: f.key.of(payload), Value: f.value.of(payload), Headers: f.decodeHeaders(payload),
			}
			if !yield(rec, nil) {
				return
			}
		}
		if at != len(payload) {
			yield(Record{}, trailing(b, len(payload)-at))
		}
	}
}

// timestamp is the timestamp, in ms, of a record with this delta.
func (b Batch) timestamp(delta int64) int64 {
	if b.IsLogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + delta
}

// decodeHeaders decodes headers that parseHeaders has accepted.
func (f *fields) decodeHeaders(p []byte) []Header {
	n, at := varint(p, f.headers)
	if n == 0 {
		return nil
	}
	headers := make([]Header, n)
	for i := range headers {
		var key, value span
		key, at = blob(p, at)
		value, at = blob(p, at)
		headers[i] = Header{Key: string(key.of(p)), Value: value.of(p)}
	}
	return headers
}
