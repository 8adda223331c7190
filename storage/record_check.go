package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// stored validates the records of batches that have passed check, and converts batches to the
// topic's codec. Most batches are kept as they are.
//
// Uncompressed records are validated one by one, which costs far less than the checksum. Compressed
// records are decoded only if something depends on it, see decodes: on a topic that keeps the
// producer's codec, decoding would be most of the cost of an append.
func (c *checker) stored(batches []byte) (_ []byte, err error) {
	var out []byte // nil while all batches are kept as they are
	kept := 0      // bytes of the batches before b
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

// recompresses reports whether the batch must be converted to the topic's codec.
func (c *checker) recompresses(b record.Batch) bool {
	want := c.cfg.Compression
	return want.Recompress && b.Codec() != want.Codec
}

// decodes reports whether a compressed batch is decoded although it is kept as it is. Compaction
// may need its keys, or its header may have an impossible largest timestamp: some clients never set
// that.
func (c *checker) decodes(b record.Batch) bool {
	return c.cfg.CleanupCompact || c.cfg.TimestampType == CreateTime && (b.MaxTimestamp() < 0 || b.MaxTimestamp() < b.BaseTimestamp())
}

// surveys reports whether the batch is kept as it is and its records are uncompressed: then one
// pass verifies checksum and records.
func (c *checker) surveys(b record.Batch) bool {
	return len(b) >= record.HeaderSize && b.Codec() == record.CodecNone && !c.recompresses(b)
}

// inspect validates a batch that is kept as it is. Of a compressed batch that is not decoded it can
// check only the header.
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

// recompress validates a batch and appends it to out with the topic's codec.
func (c *checker) recompress(out []byte, b record.Batch) ([]byte, error) {
	want, start, limit := c.cfg.Compression, len(out), record.MaxDecompressed
	if want.Codec == record.CodecNone {
		// A larger batch would be rejected below anyway.
		limit = int(min(int64(limit), c.cfg.MaxMessageBytes))
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

// validate checks the uncompressed records of a batch against its header and the topic's settings.
// It sets the header's largest timestamp to that of the records, because indexes, lookups by time
// and retention rely on it.
func (c *checker) validate(b record.Batch, payload []byte) error {
	s, err := b.Survey(payload)
	return c.hold(b, payload, s, err)
}

// hold is the second half of validate, for the result of a survey.
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

// firstOutOfTime returns the error for the first record outside of the topic's time limits.
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

// refuseRecords is the error for records that cannot be decoded although the batch's checksum is
// right: the producer sent them like that, and a retry would not help.
func refuseRecords(err error) error {
	if errors.Is(err, record.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
}

// decodeBudget is the number of decompressed bytes in memory at a time, in all logs together: as
// many as one batch may have.
const decodeBudget = record.MaxDecompressed

// decoded calls use with the uncompressed records of a batch, which are valid during the call only.
// It reserves memory before decompressing, first for a usual ratio and then for more, up to limit
// bytes. A batch that decompresses to a thousand times its size delays others but does not exhaust
// memory. The caller must not hold a log's lock, because the reservation may wait.
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

// errNoRoom means that records decompress to more bytes than were reserved.
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
