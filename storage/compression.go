package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// stored brings batches that passed check to the form that the topic keeps.
// Most go through as they are. The records are decoded where another codec is
// wanted, or compaction will have to find their keys, and then validated one by
// one, as Kafka does with all of them.
//
// Decoding takes memory in proportion to what records decompress to, and a CPU:
// no more than there are CPUs decode at a time.
func (c *checker) stored(batches []byte) ([]byte, error) {
	decode := false
	for b := range eachBatch(batches) {
		decode = decode || c.decodes(b)
	}
	if !decode {
		return batches, nil
	}
	decoding := c.log.env.decoding
	decoding <- struct{}{}
	defer func() { <-decoding }()
	var out []byte // stays nil while all batches are kept as they are
	kept := 0      // bytes of batches before the one looked at
	for b := range eachBatch(batches) {
		if !c.decodes(b) {
			out = appendBehind(out, b)
			kept += len(b)
			continue
		}
		payload, err := c.validate(b)
		if err != nil {
			return nil, err
		}
		switch {
		case !c.recompresses(b):
			out = appendBehind(out, b)
		case out == nil:
			out = append(make([]byte, 0, len(batches)), batches[:kept]...)
			fallthrough
		default:
			if out, err = c.recompress(out, b, payload); err != nil {
				return nil, err
			}
		}
		kept += len(b)
	}
	if out == nil {
		return batches, nil
	}
	return out, nil
}

// appendBehind adds a batch to what was rewritten, if anything was.
func appendBehind(out []byte, b record.Batch) []byte {
	if out == nil {
		return nil
	}
	return append(out, b...)
}

// recompresses says that the batch has another codec than the topic's. Control
// batches stay as the coordinator made them.
func (c *checker) recompresses(b record.Batch) bool {
	want := c.cfg.Compression
	return want.Recompress && b.Codec() != want.Codec && !b.IsControl()
}

func (c *checker) decodes(b record.Batch) bool {
	return c.recompresses(b) || c.cfg.CleanupCompact && !b.IsControl()
}

// validate decodes a batch and looks at each record. It returns the records as they are before compression.
func (c *checker) validate(b record.Batch) (payload []byte, err error) {
	limit := record.MaxDecompressed
	if c.recompresses(b) && c.cfg.Compression.Codec == record.CodecNone {
		limit = int(min(int64(limit), c.cfg.MaxMessageBytes)) // more would be refused afterwards anyway
	}
	payload = b.Payload()
	if b.Codec() != record.CodecNone {
		if payload, err = b.Decompress(limit); err != nil {
			return nil, refuseRecords(err)
		}
	}
	newest, err := c.checkRecords(b, payload)
	if err != nil {
		return nil, err
	}
	if newest != b.MaxTimestamp() { // the indexes go by what the header says
		b.SetMaxTimestamp(newest)
		b.SetCRC()
	}
	return payload, nil
}

// recompress appends a validated batch with the topic's codec.
func (c *checker) recompress(out []byte, b record.Batch, payload []byte) ([]byte, error) {
	want, start := c.cfg.Compression, len(out)
	out, err := b.AppendRecompressed(out, payload, want.Codec, want.Level)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
	}
	if size := int64(len(out) - start); size > c.cfg.MaxMessageBytes {
		return nil, fmt.Errorf("%w: %d bytes with %v, at most %d", ErrRecordTooLarge, size, want.Codec, c.cfg.MaxMessageBytes)
	}
	return out, nil
}

// checkRecords validates decoded records and returns their largest timestamp.
// That there are as many as the header says is known when the last one is read.
func (c *checker) checkRecords(b record.Batch, payload []byte) (newest int64, err error) {
	newest = record.NoTimestamp
	next := b.BaseOffset()
	for r, err := range b.RecordsIn(payload) {
		switch {
		case err != nil:
			return newest, refuseRecords(err)
		case r.Offset != next:
			return newest, fmt.Errorf("%w: record has offset %d, expected %d: offsets inside a batch ascend one by one", ErrInvalidRecord, r.Offset, next)
		case r.Key == nil && c.cfg.CleanupCompact:
			return newest, fmt.Errorf("%w: record %d has no key, and the topic is compacted", ErrInvalidRecord, r.Offset)
		}
		if err = c.checkTimestamp(r.Timestamp); err != nil {
			return newest, err
		}
		newest = max(newest, r.Timestamp)
		next++
	}
	return newest, nil
}

// refuseRecords is for records that cannot be decoded although the batch's
// checksum is right: the producer made them so, and would again.
func refuseRecords(err error) error {
	if errors.Is(err, record.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
}
