package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/varvelog/varve/record"
)

// maxBatch bounds the memory for one batch: a larger length field is treated as damage.
const maxBatch = 1 << 30

// field is one name and value of a line.
type field struct {
	name  string
	value any // a string, bool, integer or *string
}

func (f field) json() string {
	text, err := json.Marshal(f.value)
	if err != nil {
		return "null"
	}
	return string(text)
}

// jsonBytes is a key or a value as JSON, see jsonRecord.
func jsonBytes(name string, p []byte) field {
	text, encoded := jsonText(p)
	if encoded != "" {
		return field{name + "_base64", encoded}
	}
	return field{name, text}
}

// batches prints one line for every batch, with the names that kafka-dump-log uses.
func (d *dumper) batches(records bool, shown *progress) error {
	defer shown.done()
	buf := make([]byte, 0, 1<<20)
	for pos := int64(0); pos < d.size; {
		batch, err := d.readBatch(buf, pos)
		if err != nil {
			return fmt.Errorf("%w at byte %d of %d: %w", errDamaged, pos, d.size, err)
		}
		checkErr := batch.Check()
		if err = d.batchLine(batch, pos, checkErr == nil); err != nil {
			return err
		}
		if checkErr != nil {
			return fmt.Errorf("%w at byte %d of %d: %w", errDamaged, pos, d.size, checkErr)
		}
		if records {
			if err = d.records(batch); err != nil {
				return fmt.Errorf("batch at byte %d: %w", pos, err)
			}
		}
		shown.add(int64(batch.Count()), int64(len(batch)))
		pos += int64(len(batch))
		buf = batch[:0]
	}
	return nil
}

// readBatch reads the batch at pos into buf's memory, or into larger memory.
func (d *dumper) readBatch(buf []byte, pos int64) (record.Batch, error) {
	header := [record.HeaderSize]byte{}
	left := d.size - pos
	if left < record.HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes are left", record.ErrTruncated, left)
	}
	if _, err := d.file.ReadAt(header[:], pos); err != nil {
		return nil, err
	}
	// Split detects an impossible length. For a valid header alone it returns ErrTruncated.
	if _, _, err := record.Split(header[:]); err != nil && !errors.Is(err, record.ErrTruncated) {
		return nil, err
	}
	size := int64(record.Batch(header[:]).Size())
	switch {
	case size > left:
		return nil, fmt.Errorf("%w: it has %d bytes, %d are left", record.ErrTruncated, size, left)
	case size > maxBatch:
		return nil, fmt.Errorf("%w: %d bytes", record.ErrCorrupt, size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	batch := buf[:size]
	_, err := d.file.ReadAt(batch, pos)
	return batch, err
}

func (d *dumper) batchLine(b record.Batch, pos int64, valid bool) error {
	var deleteHorizon any = "none"
	if b.HasDeleteHorizon() {
		deleteHorizon = b.BaseTimestamp()
	}
	return d.line("",
		field{"baseOffset", b.BaseOffset()}, field{"lastOffset", b.LastOffset()}, field{"count", b.Count()},
		field{"baseSequence", b.BaseSequence()}, field{"lastSequence", b.LastSequence()},
		field{"producerId", b.ProducerID()}, field{"producerEpoch", b.ProducerEpoch()},
		field{"partitionLeaderEpoch", b.LeaderEpoch()},
		field{"isTransactional", b.IsTransactional()}, field{"isControl", b.IsControl()}, field{"deleteHorizonMs", deleteHorizon},
		field{"position", pos}, field{timestampKind(b), b.MaxTimestamp()}, field{"size", len(b)}, field{"magic", b.Magic()},
		field{"compresscodec", b.Codec().String()}, field{"crc", b.CRC()}, field{"isvalid", valid})
}

func timestampKind(b record.Batch) string {
	if b.IsLogAppendTime() {
		return "LogAppendTime"
	}
	return "CreateTime"
}

func (d *dumper) records(b record.Batch) error {
	sequence := b.BaseSequence()
	for r, err := range b.Records() {
		if err != nil {
			return err
		}
		if err = d.recordLine(b, r, sequence); err != nil {
			return err
		}
		if sequence != record.NoSequence {
			sequence = int32((int64(sequence) + 1) & 0x7fffffff)
		}
	}
	return nil
}

func (d *dumper) recordLine(b record.Batch, r record.Record, sequence int32) error {
	fields := []field{
		{"offset", r.Offset},
		{timestampKind(b), r.Timestamp},
		{"keySize", lengthOf(r.Key)},
		{"valueSize", lengthOf(r.Value)},
		{"sequence", sequence},
	}
	if b.IsControl() {
		kind, err := record.ParseControlKey(r.Key)
		if err != nil {
			return err
		}
		fields = append(fields, field{"endTxnMarker", kind.String()})
		if epoch, err := record.ParseEndTxnMarker(r.Value); err == nil {
			fields = append(fields, field{"coordinatorEpoch", epoch})
		}
		return d.line("| ", fields...)
	}
	headers := make([]string, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = h.Key
	}
	fields = append(fields, field{"headerKeys", "[" + strings.Join(headers, ",") + "]"})
	if d.asJSON {
		return d.line("", append(fields, jsonBytes("key", r.Key), jsonBytes("payload", r.Value))...)
	}
	if r.Key != nil {
		fields = append(fields, field{"key", string(r.Key)})
	}
	return d.line("| ", append(fields, field{"payload", string(r.Value)})...)
}
