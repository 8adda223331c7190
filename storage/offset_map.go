package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
)

// offsetMap holds the last offset of every key in a part of the log. Its memory is fixed when it is
// made: 24 bytes per slot. When it is full the rest of the part is left to the next cleaning.
//
// It identifies keys by 128 bits of their SHA-256. If two keys collided, records of one of them
// would be deleted for good. Producers choose the keys, so collisions must be infeasible to
// construct: a short hash is not enough, and neither is Kafka's MD5, for which that takes seconds.
type offsetMap struct {
	slots []mapSlot
	limit int // number of keys that it accepts
	used  int
	// latest: all records up to this offset are in the map; -1: none.
	latest int64
}

// mapSlotSize is the size of a mapSlot in bytes.
const mapSlotSize = 24

// mapSlot is a key's hash and the offset after its last record; next is 0 in a free slot.
type mapSlot struct {
	hash [16]byte
	next int64
}

// newOffsetMap makes a map of at most size bytes that is filled up to the fraction load (0 to 1).
// It is no larger than the number of keys requires.
func newOffsetMap(size int64, load float64, keys int64) *offsetMap {
	load = min(max(load, 0.01), 1)
	want := math.Ceil(float64(max(keys, 1))/load) + 1
	slots := max(int64(min(want, float64(size/mapSlotSize))), 2)
	// One slot stays free: the search for a missing key ends there.
	limit := min(max(int64(float64(slots)*load), 1), slots-1)
	return &offsetMap{slots: make([]mapSlot, slots), limit: int(limit), latest: -1}
}

// put records a key's record, which must be the latest so far. It returns false and changes nothing
// if the key is new and there is no room.
func (m *offsetMap) put(key []byte, offset int64) bool {
	hash, slot := m.find(key)
	if slot.next == 0 {
		if m.used == m.limit {
			return false
		}
		m.used++
		slot.hash = hash
	}
	slot.next = offset + 1
	return true
}

// get returns the last offset of a key; -1 if the map does not have it.
func (m *offsetMap) get(key []byte) int64 {
	_, slot := m.find(key)
	return slot.next - 1
}

// find returns the slot that has the key or would receive it.
func (m *offsetMap) find(key []byte) (hash [16]byte, slot *mapSlot) {
	sum := sha256.Sum256(key)
	hash = [16]byte(sum[:16])
	first, _ := bits.Mul64(binary.BigEndian.Uint64(hash[:]), uint64(len(m.slots)))
	for i := int(first); ; i++ {
		if i == len(m.slots) {
			i = 0
		}
		if slot = &m.slots[i]; slot.next == 0 || slot.hash == hash {
			return hash, slot
		}
	}
}
