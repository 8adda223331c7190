package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// span is a part of a payload, from its first byte to behind its last. A field
// that is null has a negative from.
type span struct{ from, to int }

// null is the place of a field that is null.
var null = span{-1, -1}

func (s span) null() bool { return s.from < 0 }

// of is the part of p; nil for a null field, empty, not nil, for an empty one.
func (s span) of(p []byte) []byte {
	if s.null() {
		return nil
	}
	return p[s.from:s.to:s.to]
}

// fields is where one record of a payload has its parts. It is the only parser of
// records: it makes nothing of what it reads, so that a record costs no memory
// whatever it announces.
type fields struct {
	timestampDelta int64
	offsetDelta    int64
	key, value     span
	headers        int // where their count is
	end            int // of the record
}

// parse finds the fields of the record that starts at p[at], but for its headers;
// false: they run past the record's end, or the record past the payload's. It is
// on the way of every byte that is produced, hence the calls that the compiler can
// put in place and the others only where these do not do.
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
	at = next + 1 // behind the attributes, unused
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

// bare says that the record has no headers, as most, and ends there.
func (f *fields) bare(p []byte) bool { return f.headers+1 == f.end && p[f.headers] == 0 }

// parseHeaders walks over the headers and says whether they, and with them the
// record, end where the record has to.
func (f *fields) parseHeaders(p []byte) bool {
	p = p[:f.end]
	n, at := varint(p, f.headers)
	// However many are announced, each takes two bytes at the least.
	for ; n > 0 && at >= 0; n-- {
		var key span
		if key, at = blob(p, at); key.null() {
			return false
		}
		_, at = blob(p, at)
	}
	return n == 0 && at == f.end
}

// inside says that the offset is one of the batch's.
func (f *fields) inside(b Batch) bool {
	return f.offsetDelta >= 0 && f.offsetDelta <= int64(b.LastOffsetDelta())
}

// varint reads a number at p[at]; next is negative if there is none, or at is.
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

// short is varint for a number of one or two bytes that is not the last one, which
// most are; next is negative for any other. It is small enough for the compiler to
// put it where it is called.
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

// blob reads a length and as many bytes at p[at]; next is negative if they are not there.
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

// Survey is what a walk over all records of a batch has found.
type Survey struct {
	// MinTimestamp and MaxTimestamp are the bounds of the records' timestamps.
	// Both leave out records that have none; without any they are NoTimestamp.
	MinTimestamp, MaxTimestamp int64
	// NullKey is the first record without a key, -1 if all have one.
	NullKey int32
}

// Survey walks over a producer's records, given uncompressed, and holds them
// against the header: as many as it says, with offsets that ascend one by one,
// each well formed to its last header. The error wraps ErrCorrupt. It takes no
// memory, and reads little else than lengths.
func (b Batch) Survey(payload []byte) (Survey, error) { return b.survey(payload, nil) }

// CheckAndSurvey is Survey of the batch's own records, which are not compressed, and
// verifies the checksum as well: part by part, so that the walk finds the records where
// the checksum has brought them, in the nearest cache. A wrong checksum is ErrChecksum,
// whatever the records are.
func (b Batch) CheckAndSurvey() (Survey, error) {
	sum := checksum{crc: crc32.Checksum(b[posAttributes:HeaderSize], castagnoli)}
	s, err := b.survey(b.Payload(), &sum)
	sum.to(b.Payload(), len(b.Payload()))
	if bad := b.checkSum(sum.crc); bad != nil {
		return s, bad
	}
	return s, err
}

// checksumPart is how many bytes of a checksum are computed at a time: half of a small
// first-level cache.
const checksumPart = 16 << 10

// checksum is a batch's checksum up to a place of its payload.
type checksum struct {
	crc uint32
	end int
}

func (c *checksum) to(payload []byte, end int) {
	c.crc, c.end = crc32.Update(c.crc, castagnoli, payload[c.end:end]), end
}

// survey is Survey. It computes the checksum, if that is asked for, as far as it comes.
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

// plain is a record that is right, and whose numbers take one or two bytes: all but a few. It has the offset delta i and no headers. end is negative for any
// other record, which fields.parse is for; plain is that, with the bytes up to the key in one word, at half the cost.
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
	carry := w // its top bit of the last byte of each number must be clear
	w >>= 16   // and the attributes, unused
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
	// The value, which ends where the record does but for the count of its headers, 0.
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
