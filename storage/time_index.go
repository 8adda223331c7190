package storage

import (
	"encoding/binary"
)

// timeEntrySize is the size in bytes of an entry of a .timeindex file: a timestamp int64 and an
// offset relative to the segment's base, int32.
const timeEntrySize = 12

// timeIndex holds, for some points of the segment, the largest timestamp up to there and the last
// offset of the batch that first had it. Both ascend.
type timeIndex struct {
	sparseIndex
	base int64
}

// TimestampOffset is a timestamp in ms and an offset that has it.
type TimestampOffset struct {
	Offset, Timestamp int64
	LeaderEpoch       int32 // of the batch; -1 if only an index was read
}

// maybeAppend adds the largest timestamp so far, unless the index already has it.
func (x *timeIndex) maybeAppend(m TimestampOffset) error {
	if m.Timestamp < 0 {
		return nil
	}
	last, ok, err := x.lastEntry()
	if err != nil {
		return err
	}
	if ok && m.Timestamp <= last.Timestamp {
		return nil
	}
	var e [timeEntrySize]byte
	binary.BigEndian.PutUint64(e[0:], uint64(m.Timestamp))
	binary.BigEndian.PutUint32(e[8:], uint32(m.Offset-x.base))
	x.assertEntry(e[:], entryTime)
	x.append(e[:])
	return nil
}

func (x *timeIndex) lastEntry() (TimestampOffset, bool, error) {
	e, ok, err := x.last()
	if err != nil || !ok {
		return TimestampOffset{}, false, err
	}
	return timeEntry(e[:], x.base), true, nil
}

// lookup returns the last entry at or before ts: no record before its batch has a timestamp of ts
// or later.
func (x *timeIndex) lookup(ts int64) (entry TimestampOffset, ok bool, err error) {
	e, _, ok, err := x.floor(func(e []byte) bool { return int64(binary.BigEndian.Uint64(e)) <= ts })
	if err != nil || !ok {
		return entry, false, err
	}
	return timeEntry(e[:], x.base), true, nil
}

// countBelow returns how many entries are for offsets below end.
func (x *timeIndex) countBelow(end int64) (int, error) {
	_, i, ok, err := x.floor(func(e []byte) bool { return x.base+relativeOffset(e[8:]) < end })
	if err != nil || !ok {
		return 0, err
	}
	return i + 1, nil
}

func entryTime(e []byte) int64 { return int64(binary.BigEndian.Uint64(e)) }

func timeEntry(e []byte, base int64) TimestampOffset {
	return TimestampOffset{
		Timestamp:   entryTime(e),
		Offset:      base + relativeOffset(e[8:]),
		LeaderEpoch: -1,
	}
}
