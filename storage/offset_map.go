package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
)

// offsetMap holds the last offset of every key in a part of the log, in memory
// that is fixed when it is made: 24 bytes a slot. When it is full, what comes
// after is left for the next cleaning.
//
// It knows keys by 128 bits of their SHA-256. A record whose key is taken for
// another's would be deleted for good, and whoever produces chooses the keys,
// so that the hash has to be one for which nobody can make two keys meet: not a
// short one, and not Kafka's MD5, for which that is done in seconds.
type offsetMap struct {
	slots []mapSlot
	limit int // how many keys it takes
	used  int
	// latest: all records up to this offset are in the map; -1 before the first.
	latest int64
}

// mapSlotSize is the size of a mapSlot in bytes.
const mapSlotSize = 24

// mapSlot is a key's hash and the offset after its last record; 0: a free slot.
type mapSlot struct {
	hash [16]byte
	next int64
}

// newOffsetMap makes a map of at most size bytes, filled to load (0 to 1), which
// has no more room than a number of keys needs.
func newOffsetMap(size int64, load float64, keys int64) *offsetMap {
	load = min(max(load, 0.01), 1)
	want := math.Ceil(float64(max(keys, 1))/load) + 1
	slots := max(int64(min(want, float64(size/mapSlotSize))), 2)
	// One slot stays free, where the search for a missing key ends.
	limit := min(max(int64(float64(slots)*load), 1), slots-1)
	return &offsetMap{slots: make([]mapSlot, slots), limit: int(limit), latest: -1}
}

// put notes a key's record, which is the latest one so far. It is false, and
// nothing is changed, if the key is new and there is no room.
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

// get is the last offset of a key; -1 if it has none.
func (m *offsetMap) get(key []byte) int64 {
	_, slot := m.find(key)
	return slot.next - 1
}

// find is the slot that has the key or would get it.
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
