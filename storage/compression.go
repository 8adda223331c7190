package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/varvelog/varve/record"
)

// Fields that recompressing changes; package record draws the layout.
const (
	posBatchLength = 8
	posAttributes  = 21
	codecMask      = 0x07
)

// recompress brings batches to the topic's codec. With compression.type=producer,
// or if all have the codec already, it returns batches itself.
func (l *Log) recompress(batches []byte, cfg *Config) ([]byte, error) {
	want := cfg.Compression
	same := true
	for b := range eachBatch(batches) {
		same = same && b.Codec() == want.Codec
	}
	if !want.Recompress || same {
		return batches, nil
	}
	out := make([]byte, 0, len(batches))
	for b := range eachBatch(batches) {
		if b.Codec() == want.Codec {
			out = append(out, b...)
			continue
		}
		raw, err := b.Codec().Decompress(nil, b.Payload(), record.MaxDecompressed)
		if err != nil {
			return nil, refuse(err)
		}
		start := len(out)
		out = append(out, b[:record.HeaderSize]...)
		if out, err = want.Codec.Compress(out, raw, want.Level); err != nil {
			return nil, fmt.Errorf("compress batch with %v: %w", want.Codec, err)
		}
		size := len(out) - start
		if int64(size) > cfg.MaxMessageBytes {
			return nil, fmt.Errorf("%w: %d bytes with %v, at most %d", ErrRecordTooLarge, size, want.Codec, cfg.MaxMessageBytes)
		}
		done := record.Batch(out[start:])
		binary.BigEndian.PutUint32(done[posBatchLength:], uint32(size-record.LogOverhead))
		attributes := binary.BigEndian.Uint16(done[posAttributes:])
		binary.BigEndian.PutUint16(done[posAttributes:], attributes&^codecMask|uint16(want.Codec))
		done.SetCRC()
	}
	if int64(len(out)) > cfg.SegmentBytes {
		return nil, fmt.Errorf("%w: %d bytes with %v, segment.bytes is %d", ErrRecordListTooLarge, len(out), want.Codec, cfg.SegmentBytes)
	}
	return out, nil
}
