package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes of Kafka's index entries and of a producer's entry in a snapshot.
const (
	offsetEntry   = 8  // relative offset int32, position int32
	timeEntry     = 12 // timestamp int64, relative offset int32
	txnEntry      = 34 // version int16, producer id, first offset, last offset, last stable offset, each int64
	producerEntry = 46 // see snapshot
)

// maxIndexFile bounds the memory for a file that is read as a whole.
const maxIndexFile = 1 << 30

func (d *dumper) readAll() ([]byte, error) {
	if d.size > maxIndexFile {
		return nil, fmt.Errorf("%w: %s is too large for such a file", errDamaged, byteSize(d.size))
	}
	data := make([]byte, d.size)
	_, err := io.ReadFull(io.NewSectionReader(d.file, 0, d.size), data)
	return data, err
}

// index prints the entries of an index file. The files of an active segment are preallocated: the
// first entry of zeros, except at the front, is the end.
func (d *dumper) index(extension, name string) error {
	base, err := baseOffset(name)
	if err != nil {
		return err
	}
	data, err := d.readAll()
	if err != nil {
		return err
	}
	size, print := offsetEntry, d.offsetEntry
	switch extension {
	case ".timeindex":
		size, print = timeEntry, d.timeEntry
	case ".txnindex":
		size, print = txnEntry, d.txnEntry
	}
	for n := 0; len(data) >= size; n++ {
		if n > 0 && allZero(data[:size]) {
			return nil
		}
		if err = print(base, data[:size]); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		data = data[size:]
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes follow the last whole entry", errDamaged, len(data))
	}
	return nil
}

func (d *dumper) offsetEntry(base int64, p []byte) error {
	return d.line("", field{"offset", base + int64(binary.BigEndian.Uint32(p))}, field{"position", binary.BigEndian.Uint32(p[4:])})
}

func (d *dumper) timeEntry(base int64, p []byte) error {
	return d.line("", field{"timestamp", int64(binary.BigEndian.Uint64(p))}, field{"offset", base + int64(binary.BigEndian.Uint32(p[8:]))})
}

func (d *dumper) txnEntry(_ int64, p []byte) error {
	if version := int16(binary.BigEndian.Uint16(p)); version != 0 {
		return fmt.Errorf("%w: version %d", errDamaged, version)
	}
	i64 := func(at int) int64 { return int64(binary.BigEndian.Uint64(p[at:])) }
	return d.line("", field{"version", 0}, field{"producerId", i64(2)}, field{"firstOffset", i64(10)}, field{"lastOffset", i64(18)},
		field{"lastStableOffset", i64(26)})
}

// snapshot prints the producers of a snapshot file:
//
//	version int16 · CRC32C of the rest · count int32 · per producer:
//	  id int64, epoch int16, last sequence int32, last offset int64, offset delta int32,
//	  timestamp int64, coordinator epoch int32, first offset of its transaction int64
func (d *dumper) snapshot() error {
	data, err := d.readAll()
	if err != nil {
		return err
	}
	if len(data) < 10 {
		return fmt.Errorf("%w: %d bytes are less than a header", errDamaged, len(data))
	}
	if version := int16(binary.BigEndian.Uint16(data)); version != 1 {
		return fmt.Errorf("%w: version %d, want 1", errDamaged, version)
	}
	stored, sum := binary.BigEndian.Uint32(data[2:]), crc32.Checksum(data[6:], crc32.MakeTable(crc32.Castagnoli))
	if stored != sum {
		return fmt.Errorf("%w: CRC is %#08x, content has %#08x", errDamaged, stored, sum)
	}
	count, entries := int64(int32(binary.BigEndian.Uint32(data[6:]))), data[10:]
	if int64(len(entries)) != count*producerEntry {
		return fmt.Errorf("%w: %d producers cannot be in %d bytes", errDamaged, count, len(entries))
	}
	for ; len(entries) > 0; entries = entries[producerEntry:] {
		if err = d.producerEntry(entries[:producerEntry]); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) producerEntry(p []byte) error {
	i64 := func(at int) int64 { return int64(binary.BigEndian.Uint64(p[at:])) }
	i32 := func(at int) int32 { return int32(binary.BigEndian.Uint32(p[at:])) }
	last, delta := i64(14), i32(22)
	return d.line("", field{"producerId", i64(0)}, field{"producerEpoch", int16(binary.BigEndian.Uint16(p[8:]))},
		field{"lastSequence", i32(10)}, field{"firstOffset", last - int64(delta)}, field{"lastOffset", last}, field{"offsetDelta", delta},
		field{"lastTimestamp", i64(26)}, field{"coordinatorEpoch", i32(34)}, field{"currentTxnFirstOffset", i64(38)})
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
