package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// stored validates the records of batches that passed check, and brings the
// batches to the form that the topic keeps. Most go through as they are.
//
// Records that are not compressed are looked at one by one, which costs far less
// than the checksum. Those that are compressed are decoded only where something
// depends on it, see decodes: on a topic that keeps the producer's codec decoding
// would be most of what an append costs.
func (c *checker) stored(batches []byte) (_ []byte, err error) {
	var out []byte // stays nil while all batches are kept as they are
	kept := 0      // bytes of batches before the one looked at
	for b := range eachBatch(batches) {
		switch {
		case !c.recompresses(b):
			err = c.inspect(b)
			if out != nil {
				out = append(out, b...)
			}
		case out == nil:
			out = append(make([]byte, 0, len(batches)), batches[:kept]...)
			fallthrough
		default:
			out, err = c.recompress(out, b)
		}
		if err != nil {
			return nil, err
		}
		kept += len(b)
	}
	if out == nil {
		return batches, nil
	}
	return out, nil
}

// recompresses says that the batch has another codec than the topic's.
func (c *checker) recompresses(b record.Batch) bool {
	want := c.cfg.Compression
	return want.Recompress && b.Codec() != want.Codec
}

// decodes says that a compressed batch is decoded although it is kept as it is:
// compaction will have to find its keys, or its header has a largest timestamp that
// it cannot have. Some clients never set that.
func (c *checker) decodes(b record.Batch) bool {
	return c.cfg.CleanupCompact || c.cfg.TimestampType == CreateTime && (b.MaxTimestamp() < 0 || b.MaxTimestamp() < b.BaseTimestamp())
}

// surveys says that the batch is kept as it is and its records are there to be looked
// at: their checksum is verified as they are.
func (c *checker) surveys(b record.Batch) bool {
	return len(b) >= record.HeaderSize && b.Codec() == record.CodecNone && !c.recompresses(b)
}

// inspect validates a batch that is kept as it is. Of a compressed one whose
// records are not decoded it can only look at the header.
func (c *checker) inspect(b record.Batch) error {
	switch {
	case c.surveys(b):
		s, err := b.CheckAndSurvey()
		if errors.Is(err, record.ErrChecksum) {
			return refuse(err)
		}
		return c.hold(b, b.Payload(), s, err)
	case c.decodes(b):
		return c.env.decoded(b, record.MaxDecompressed, func(payload []byte) error { return c.validate(b, payload) })
	}
	if err := c.checkTimestamp(b.BaseTimestamp()); err != nil {
		return err
	}
	return c.checkTimestamp(b.MaxTimestamp())
}

// recompress appends a batch with the topic's codec to out.
func (c *checker) recompress(out []byte, b record.Batch) ([]byte, error) {
	want, start, limit := c.cfg.Compression, len(out), record.MaxDecompressed
	if want.Codec == record.CodecNone {
		limit = int(min(int64(limit), c.cfg.MaxMessageBytes)) // more would be refused afterwards anyway
	}
	err := c.env.decoded(b, limit, func(payload []byte) (err error) {
		if err = c.validate(b, payload); err != nil {
			return err
		}
		if out, err = b.AppendRecompressed(out, payload, want.Codec, want.Level); err != nil {
			return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if size := int64(len(out) - start); size > c.cfg.MaxMessageBytes {
		return nil, fmt.Errorf("%w: %d bytes with %v, at most %d", ErrRecordTooLarge, size, want.Codec, c.cfg.MaxMessageBytes)
	}
	return out, nil
}

// validate holds the records of a batch, given uncompressed, against its header and
// the topic's settings. The header's largest timestamp becomes that of the records:
// indexes, lookups by time and retention believe it.
func (c *checker) validate(b record.Batch, payload []byte) error {
	s, err := b.Survey(payload)
	return c.hold(b, payload, s, err)
}

// hold is validate for what a survey has found.
func (c *checker) hold(b record.Batch, payload []byte, s record.Survey, err error) error {
	if err != nil {
		return refuseRecords(err)
	}
	if s.NullKey >= 0 && c.cfg.CleanupCompact {
		return &RecordError{Index: int(s.NullKey), Err: fmt.Errorf("%w: record %d has no key, and the topic is compacted", ErrInvalidRecord, s.NullKey)}
	}
	if c.cfg.TimestampType == LogAppendTime {
		return nil // the header gets the broker's time
	}
	if c.checkTimestamp(s.MinTimestamp) != nil || c.checkTimestamp(s.MaxTimestamp) != nil {
		return c.firstOutOfTime(b, payload)
	}
	if s.MaxTimestamp != b.MaxTimestamp() {
		b.SetMaxTimestamp(s.MaxTimestamp)
		b.SetCRC()
	}
	return nil
}

// firstOutOfTime is about the first record that the topic's limits exclude.
func (c *checker) firstOutOfTime(b record.Batch, payload []byte) error {
	i := 0
	for e, err := range b.EntriesIn(payload) {
		if err == nil {
			err = c.checkTimestamp(e.Timestamp)
		}
		if err != nil {
			return &RecordError{Index: i, Err: fmt.Errorf("record %d of the batch: %w", i, err)}
		}
		i++
	}
	return nil
}

// refuseRecords is for records that cannot be decoded although the batch's
// checksum is right: the producer made them so, and would again.
func refuseRecords(err error) error {
	if errors.Is(err, record.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
}

// decodeBudget is how many decompressed bytes there are at a time, in all logs
// together: as many as one batch may have.
const decodeBudget = record.MaxDecompressed

// decoded passes the records of a batch to use, uncompressed and for the time of
// the call. Memory for them is reserved before they are decompressed, first for a
// usual ratio and then for more and more, up to limit bytes: a batch that
// decompresses to a thousand times its size holds up others, and exhausts nothing.
// The caller must not hold a log's lock.
func (e *env) decoded(b record.Batch, limit int, use func(payload []byte) error) error {
	if b.Codec() == record.CodecNone {
		return use(b.Payload())
	}
	for room := min(limit, 8*len(b)+64<<10); ; room = min(limit, 8*room) {
		err := e.decodedIn(b, room, use)
		if !errors.Is(err, errNoRoom) {
			return err
		}
		if room >= limit {
			return refuseRecords(err)
		}
	}
}

// errNoRoom says that records decompress to more than was reserved.
var errNoRoom = errors.New("records decompress to more than expected")

func (e *env) decodedIn(b record.Batch, room int, use func(payload []byte) error) error {
	e.decoding.acquire(int64(room))
	defer e.decoding.release(int64(room))
	payload, err := b.Decompress(room)
	switch {
	case errors.Is(err, record.ErrTooLarge):
		return fmt.Errorf("%w: %w", errNoRoom, err)
	case err != nil:
		return refuseRecords(err)
	}
	return use(payload)
}
