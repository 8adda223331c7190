package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// span is the range [from, to) of a payload. A null field has a negative from.
type span struct{ from, to int }

// null is the span of a null field.
var null = span{-1, -1}

func (s span) null() bool { return s.from < 0 }

// of returns the range of p that s describes: nil for a null field, and a non-nil empty slice for
// an empty one.
func (s span) of(p []byte) []byte {
	if s.null() {
		return nil
	}
	return p[s.from:s.to:s.to]
}

// fields holds the positions of one record's fields in a payload. It is the only parser of records.
// It builds nothing from what it reads, so a record costs no memory whatever sizes it announces.
type fields struct {
	timestampDelta int64
	offsetDelta    int64
	key, value     span
	headers        int // position of the header count
	end            int // end of the record, exclusive
}

// parse finds all fields but the headers of the record at p[at]. It returns false if the fields run
// past the end of the record, or the record past the end of p. Every produced byte passes through
// here, so it calls functions that the compiler inlines and falls back to the others only where
// these fail.
func (f *fields) parse(p []byte, at int) bool {
	n, next := short(p, at)
	if next < 0 {
		n, next = varint(p, at)
	}
	if next < 0 || n < 1 || n > int64(len(p)-next) {
		return false
	}
	f.end = next + int(n)
	p = p[:f.end]
	at = next + 1 // after the attributes, which are unused
	if f.timestampDelta, next = short(p, at); next < 0 {
		f.timestampDelta, next = varint(p, at)
	}
	at = next
	if f.offsetDelta, next = short(p, at); next < 0 {
		f.offsetDelta, next = varint(p, at)
	}
	at = next
	if n, next = short(p, at); next < 0 {
		n, next = varint(p, at)
	}
	if f.key = (span{next, next + int(n)}); n < 0 || next < 0 {
		f.key = null
	}
	if next < 0 || n < -1 || n > int64(len(p)-next) {
		return false
	}
	at = next + int(max(n, 0))
	if n, next = short(p, at); next < 0 {
		n, next = varint(p, at)
	}
	if f.value = (span{next, next + int(n)}); n < 0 {
		f.value = null
	}
	f.headers = next + int(max(n, 0))
	return next >= 0 && n >= -1 && n <= int64(len(p)-next)
}

// bare reports whether the record has no headers, as is usual, and ends after their count.
func (f *fields) bare(p []byte) bool { return f.headers+1 == f.end && p[f.headers] == 0 }

// parseHeaders walks over the headers and reports whether the last one ends exactly at the end of
// the record.
func (f *fields) parseHeaders(p []byte) bool {
	p = p[:f.end]
	n, at := varint(p, f.headers)
	// A count larger than the bytes that follow fails here: a header takes at least two bytes.
	for ; n > 0 && at >= 0; n-- {
		var key span
		if key, at = blob(p, at); key.null() {
			return false
		}
		_, at = blob(p, at)
	}
	return n == 0 && at == f.end
}

// inside reports whether the offset is within the batch.
func (f *fields) inside(b Batch) bool {
	return f.offsetDelta >= 0 && f.offsetDelta <= int64(b.LastOffsetDelta())
}

// varint reads a number at p[at]. next is the position after it, or negative if there is no valid
// number or if at is negative.
func varint(p []byte, at int) (v int64, next int) {
	if v, next = short(p, at); next >= 0 {
		return v, next
	}
	if uint(at) >= uint(len(p)) {
		return 0, -1
	}
	v, n := binary.Varint(p[at:])
	if n <= 0 {
		return 0, -1
	}
	return v, at + n
}

// short is varint for a number of one or two bytes that does not end p, the usual case. next is
// negative for any other number. It is small enough for the compiler to inline.
func short(p []byte, at int) (v int64, next int) {
	if at < 0 || at+1 >= len(p) {
		return 0, -1
	}
	u, next := uint64(p[at]), at+1
	if u >= 0x80 {
		if p[next] >= 0x80 {
			return 0, -1
		}
		u = u&0x7f | uint64(p[next])<<7
		next++
	}
	return int64(u>>1) ^ -int64(u&1), next
}

// blob reads a length and that many bytes at p[at]. next is negative if p is too short.
func blob(p []byte, at int) (s span, next int) {
	n, next := short(p, at)
	if next < 0 {
		n, next = varint(p, at)
	}
	switch {
	case n == -1:
		return null, next
	case next < 0 || n < 0 || n > int64(len(p)-next):
		return null, -1
	}
	return span{next, next + int(n)}, next + int(n)
}

// Survey is the result of a walk over all records of a batch.
type Survey struct {
	// MinTimestamp and MaxTimestamp are the bounds of the records' timestamps, in ms. Records
	// without a timestamp are left out; if no record has one, both are NoTimestamp.
	MinTimestamp, MaxTimestamp int64
	// NullKey is the index of the first record without a key, or -1 if all have one.
	NullKey int32
}

// Survey walks over a producer's records, given uncompressed, and checks them against the header:
// the count must match, offsets must increase by one, and each record must be well formed up to its
// last header. The error wraps ErrCorrupt. It allocates nothing and reads little more than lengths.
func (b Batch) Survey(payload []byte) (Survey, error) { return b.survey(payload, nil) }

// CheckAndSurvey is Survey of the batch's own records, which must not be compressed, together with
// a check of the CRC. The checksum is computed part by part ahead of the walk, so the walk finds
// the records in the nearest cache. A wrong checksum is ErrChecksum, whatever the records are.
func (b Batch) CheckAndSurvey() (Survey, error) {
	sum := checksum{crc: crc32.Checksum(b[posAttributes:HeaderSize], castagnoli)}
	s, err := b.survey(b.Payload(), &sum)
	sum.to(b.Payload(), len(b.Payload()))
	if bad := b.checkSum(sum.crc); bad != nil {
		return s, bad
	}
	return s, err
}

// checksumPart is the number of bytes that are summed at a time: half of a small first-level cache.
const checksumPart = 16 << 10

// checksum is a batch's checksum up to a position in its payload.
type checksum struct {
	crc uint32
	end int
}

func (c *checksum) to(payload []byte, end int) {
	c.crc, c.end = crc32.Update(c.crc, castagnoli, payload[c.end:end]), end
}

// survey is Survey. If sum is not nil, it also advances the checksum as far as the walk needs. The
// caller must sum the rest.
func (b Batch) survey(payload []byte, sum *checksum) (Survey, error) {
	s := Survey{MinTimestamp: math.MaxInt64, MaxTimestamp: NoTimestamp, NullKey: -1}
	base, count := b.BaseTimestamp(), b.Count()
	if last := b.LastOffsetDelta(); last < count-1 {
		return s, malformed(b, count-1, "the header's last offset delta is %d", last)
	}
	at, summed := 0, 0
	if sum == nil {
		summed = math.MaxInt
	}
	var f fields
	for i := range count {
		if at >= summed && at < len(payload) {
			sum.to(payload, min(at+checksumPart, len(payload)))
			summed = sum.end
		}
		delta, nullKey, end := plain(payload, at, i)
		if end < 0 {
			if !f.parse(payload, at) || !f.bare(payload) && !f.parseHeaders(payload) {
				return s, malformed(b, i, "fields run past its end, or end before it")
			}
			if f.offsetDelta != int64(i) {
				return s, malformed(b, i, "offset delta is %d: offsets inside a batch ascend one by one", f.offsetDelta)
			}
			delta, nullKey, end = f.timestampDelta, f.key.null(), f.end
		}
		if nullKey && s.NullKey < 0 {
			s.NullKey = i
		}
		if ts := base + delta; ts != NoTimestamp {
			s.MinTimestamp, s.MaxTimestamp = min(s.MinTimestamp, ts), max(s.MaxTimestamp, ts)
		}
		at = end
	}
	if at != len(payload) {
		return s, trailing(b, len(payload)-at)
	}
	if s.MinTimestamp == math.MaxInt64 {
		s.MinTimestamp = NoTimestamp
	}
	return s, nil
}

// plain parses the usual record: well formed, with offset delta i, no headers, and numbers of one
// or two bytes. end is negative for every other record, which fields.parse handles. plain does the
// same at half the cost, because it loads the bytes up to the key in one word.
func plain(p []byte, at int, i int32) (timestampDelta int64, nullKey bool, end int) {
	if at+16 > len(p) {
		return 0, false, -1
	}
	w := binary.LittleEndian.Uint64(p[at:])
	next := at
	n := w & 0x7f
	if w&0x80 != 0 {
		n |= w >> 1 & 0x3f80
		w >>= 8
		next++
	}
	// The top bit of the last byte of each number must be clear.
	carry := w
	w >>= 16 // skip the length and the attributes, which are unused
	next += 2
	end = next - 1 + int(n>>1)
	delta := w & 0x7f
	if w&0x80 != 0 {
		delta |= w >> 1 & 0x3f80
		w >>= 8
		next++
	}
	carry |= w
	w >>= 8
	next++
	offset := w & 0x7f
	if w&0x80 != 0 {
		offset |= w >> 1 & 0x3f80
		w >>= 8
		next++
	}
	carry |= w
	w >>= 8
	next++
	key := w & 0xff
	carry |= key
	next++
	if carry&0x80 != 0 || n&1 != 0 || offset != uint64(i)<<1 || end > len(p) {
		return 0, false, -1
	}
	if nullKey = key == 1; !nullKey {
		if key&1 != 0 {
			return 0, false, -1
		}
		next += int(key >> 1)
	}
	// The value must end one byte before the record: the header count, 0, follows it.
	if next+2 >= end || p[end-1] != 0 {
		return 0, false, -1
	}
	v := uint64(p[next])
	if next++; v&0x80 != 0 {
		v = v&0x7f | uint64(p[next])<<7
		next++
	}
	if v&1 != 0 || v>>14 != 0 || next+int(v>>1)+1 != end {
		return 0, false, -1
	}
	return int64(delta>>1) ^ -int64(delta&1), nullKey, end
}

func malformed(b Batch, i int32, format string, args ...any) error {
	return fmt.Errorf("record %d of batch at offset %d: %w: %s", i, b.BaseOffset(), ErrCorrupt, fmt.Sprintf(format, args...))
}

func trailing(b Batch, n int) error {
	return fmt.Errorf("batch at offset %d: %w: %d bytes follow the last of %d records", b.BaseOffset(), ErrCorrupt, n, b.Count())
}
