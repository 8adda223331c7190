package metadata

import (
	"encoding/binary"
	"iter"
	"maps"
)

// tableShards is the number of parts of a table. A change copies one of them: about 100 entries of
// 100,000.
const tableShards = 1024

// table is a map whose versions share their equal parts. A version that readers have seen never
// changes. The next version is a copy of the struct; set and remove change it under a new owner.
type table[K comparable, V any] struct {
	hash  func(K) uint32
	root  *tableRoot[K, V] // nil: empty
	count int
}

type tableRoot[K comparable, V any] struct {
	owner  *owner
	shards [tableShards]*tableShard[K, V]
}

type tableShard[K comparable, V any] struct {
	owner   *owner
	entries map[K]V
}

// owner is the right to write to the root and the shards that were made under it. A writer drops
// its owner before readers see the table.
type owner struct{ _ byte }

func newTable[K comparable, V any](hash func(K) uint32) table[K, V] { return table[K, V]{hash: hash} }

// hashID spreads topic ids, which are random already.
func hashID(id TopicID) uint32 {
	return binary.LittleEndian.Uint32(id[:]) ^ binary.LittleEndian.Uint32(id[12:])
}

// hashName is FNV-1a, which is the same in every process: work that runs shard by shard has the
// same order everywhere.
func hashName(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h ^ h>>16
}

func (t *table[K, V]) len() int { return t.count }

func (t *table[K, V]) get(key K) (V, bool) {
	if t.root != nil {
		if s := t.root.shards[t.hash(key)%tableShards]; s != nil {
			v, ok := s.entries[key]
			return v, ok
		}
	}
	var none V
	return none, false
}

// set writes an entry. It copies the root and the shard first unless the owner has made them.
func (t *table[K, V]) set(o *owner, key K, value V) {
	s := t.writable(o, key)
	if _, had := s.entries[key]; !had {
		t.count++
	}
	s.entries[key] = value
}

// remove deletes an entry, if it exists.
func (t *table[K, V]) remove(o *owner, key K) {
	if _, had := t.get(key); had {
		delete(t.writable(o, key).entries, key)
		t.count--
	}
}

// writable returns the shard of a key, copied unless the owner has made it already.
func (t *table[K, V]) writable(o *owner, key K) *tableShard[K, V] {
	if t.root == nil || t.root.owner != o {
		root := &tableRoot[K, V]{owner: o}
		if t.root != nil {
			root.shards = t.root.shards
		}
		t.root = root
	}
	at := &t.root.shards[t.hash(key)%tableShards]
	if old := *at; old == nil || old.owner != o {
		*at = &tableShard[K, V]{owner: o, entries: map[K]V{}}
		if old != nil {
			(*at).entries = maps.Clone(old.entries)
		}
	}
	return *at
}

// all yields the entries in no particular order.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if t.root == nil {
			return
		}
		for _, s := range t.root.shards {
			if s == nil {
				continue
			}
			for k, v := range s.entries {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// since yields the keys whose entries differ between an earlier version and this one, or that only
// one of the two has. It reads only the shards that the two do not share.
func (t *table[K, V]) since(before *table[K, V], same func(a, b V) bool) iter.Seq[K] {
	return func(yield func(K) bool) {
		if t.root == before.root {
			return
		}
		for i := range tableShards {
			now, old := t.shard(i), before.shard(i)
			if now == old {
				continue
			}
			for k, v := range now.of() {
				if was, had := old.of()[k]; (!had || !same(v, was)) && !yield(k) {
					return
				}
			}
			for k := range old.of() {
				if _, has := now.of()[k]; !has && !yield(k) {
					return
				}
			}
		}
	}
}

func (t *table[K, V]) shard(i int) *tableShard[K, V] {
	if t.root == nil {
		return nil
	}
	return t.root.shards[i]
}

// of returns the entries of a shard, which may be nil.
func (s *tableShard[K, V]) of() map[K]V {
	if s == nil {
		return nil
	}
	return s.entries
}
