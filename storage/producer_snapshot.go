package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A producer snapshot is: version int16 (1), CRC32C of all that follows uint32, count int32,
// entries. An entry is: producer id int64, epoch int16, last sequence int32, last offset int64,
// offset delta of the last batch int32, timestamp int64, coordinator epoch int32, first offset of
// the open transaction int64 (-1: none). All integers are big endian.
//
// This is Kafka's format. Kafka writes one entry per producer, of its newest batch. Varve also
// writes an entry for each earlier batch that it remembers, before the newest one, because a client
// may repeat any of them after a restart. Kafka can read these files: there the last entry of a
// producer counts.
//
// The timestamp in a producer's last entry is the time at which its newest batch was appended, by
// the broker's clock, in ms. Producers expire by it. Kafka takes the batch's own timestamp.
const (
	snapshotVersion   = 1
	snapshotHeader    = 10
	snapshotEntrySize = 46
	snapshotCRCStart  = 6
)

// maxSnapshot bounds the size of a snapshot that is read, in bytes.
const maxSnapshot = 256 << 20

// encodeSnapshot returns the snapshot of the producers, ordered by their ids.
func encodeSnapshot(producers map[int64]*producerEntry) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, snapshotHeader+len(producers)*snapshotEntrySize)
	b = be.AppendUint16(b, snapshotVersion)
	b = be.AppendUint32(b, 0) // the CRC, filled in last
	b = be.AppendUint32(b, 0) // the count, filled in before the CRC
	count := uint32(0)
	add := func(id int64, e *producerEntry, m batchMeta, timestamp int64) {
		b = be.AppendUint64(b, uint64(id))
		b = be.AppendUint16(b, uint16(e.epoch))
		b = be.AppendUint32(b, uint32(m.lastSequence))
		b = be.AppendUint64(b, uint64(m.lastOffset))
		b = be.AppendUint32(b, uint32(m.offsetDelta))
		b = be.AppendUint64(b, uint64(timestamp))
		b = be.AppendUint32(b, uint32(e.coordinatorEpoch))
		b = be.AppendUint64(b, uint64(e.txnFirstOffset))
		count++
	}
	for _, id := range sortedProducers(producers) {
		e := producers[id]
		for _, m := range e.batches[:max(e.n-1, 0)] {
			add(id, e, m, m.timestamp)
		}
		add(id, e, e.newest(), e.appended)
	}
	be.PutUint32(b[snapshotCRCStart:], count)
	be.PutUint32(b[2:], crc32.Checksum(b[snapshotCRCStart:], castagnoli))
	return b
}

// decodeSnapshot parses a snapshot. It returns ErrCorrupt unless the snapshot is whole and sound.
func decodeSnapshot(b []byte) (map[int64]*producerEntry, error) {
	be := binary.BigEndian
	if len(b) < snapshotHeader {
		return nil, fmt.Errorf("%w: producer snapshot of %d bytes", ErrCorrupt, len(b))
	}
	if v := int16(be.Uint16(b)); v != snapshotVersion {
		return nil, fmt.Errorf("%w: producer snapshot of version %d, want %d", ErrCorrupt, v, snapshotVersion)
	}
	if sum := crc32.Checksum(b[snapshotCRCStart:], castagnoli); sum != be.Uint32(b[2:]) {
		return nil, fmt.Errorf("%w: producer snapshot has CRC %#08x, content %#08x", ErrCorrupt, be.Uint32(b[2:]), sum)
	}
	n := int64(int32(be.Uint32(b[snapshotCRCStart:])))
	if rest := int64(len(b) - snapshotHeader); n < 0 || rest != n*snapshotEntrySize {
		return nil, fmt.Errorf("%w: producer snapshot says %d entries in %d bytes", ErrCorrupt, n, rest)
	}
	producers := make(map[int64]*producerEntry, n)
	for e := b[snapshotHeader:]; len(e) > 0; e = e[snapshotEntrySize:] {
		id, epoch := int64(be.Uint64(e)), int16(be.Uint16(e[8:]))
		entry := producers[id]
		if entry == nil || entry.epoch != epoch {
			entry = &producerEntry{epoch: epoch}
			producers[id] = entry
		}
		entry.appended = int64(be.Uint64(e[26:]))
		entry.coordinatorEpoch = int32(be.Uint32(e[34:]))
		entry.txnFirstOffset = int64(be.Uint64(e[38:]))
		if last := int64(be.Uint64(e[14:])); last >= 0 {
			entry.push(batchMeta{
				lastSequence: int32(be.Uint32(e[10:])),
				lastOffset:   last,
				offsetDelta:  int32(be.Uint32(e[22:])),
				timestamp:    entry.appended,
			})
		}
	}
	return producers, nil
}
