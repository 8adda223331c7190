package storage

import (
	"encoding/binary"
)

// offsetEntrySize is the size in bytes of an entry of a .index file: the offset relative to the
// segment's base and the position in its .log, both int32.
const offsetEntrySize = 8

// offsetIndex maps the last offset of some batches to the position where the batch begins.
type offsetIndex struct {
	sparseIndex
	base int64
}

// append adds the entry of a batch. Log.mu serializes appends.
func (x *offsetIndex) append(lastOffset, position int64) {
	var e [offsetEntrySize]byte
	binary.BigEndian.PutUint32(e[0:], uint32(lastOffset-x.base))
	binary.BigEndian.PutUint32(e[4:], uint32(position))
	x.assertEntry(e[:], relativeOffset)
	x.sparseIndex.append(e[:])
}

// lookup returns the position of the last indexed batch that ends at or before target, where a scan
// for target may begin. It is 0 if there is none.
func (x *offsetIndex) lookup(target int64) (position int64, err error) {
	e, _, ok, err := x.floor(func(e []byte) bool { return x.base+relativeOffset(e) <= target })
	if err != nil || !ok {
		return 0, err
	}
	return entryPosition(e[:]), nil
}

// countBelow returns how many entries are for offsets below end.
func (x *offsetIndex) countBelow(end int64) (int, error) {
	_, i, ok, err := x.floor(func(e []byte) bool { return x.base+relativeOffset(e) < end })
	if err != nil || !ok {
		return 0, err
	}
	return i + 1, nil
}

func relativeOffset(e []byte) int64 { return int64(int32(binary.BigEndian.Uint32(e))) }
func entryPosition(e []byte) int64  { return int64(int32(binary.BigEndian.Uint32(e[4:]))) }
