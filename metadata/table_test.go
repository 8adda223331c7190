package metadata

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTableModel changes a table and a map in the same way. They must agree, a version that readers
// have seen must not change, and since must yield the difference between any two versions.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			table table[int, int]
			model map[int]int
		}
		hash := func(k int) uint32 { return uint32(k % 3) } // shards of several entries
		versions := []version{{newTable[int, int](hash), map[int]int{}}}
		for range rapid.IntRange(1, 8).Draw(t, "versions") {
			last := versions[len(versions)-1]
			next, o := version{last.table, maps.Clone(last.model)}, new(owner)
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				key, value := rapid.IntRange(0, 8).Draw(t, "key"), rapid.IntRange(-1, 2).Draw(t, "value")
				if value < 0 {
					next.table.remove(o, key)
					delete(next.model, key)
				} else {
					next.table.set(o, key, value)
					next.model[key] = value
				}
			}
			versions = append(versions, next)
		}
		for _, v := range versions {
			if got := maps.Collect(v.table.all()); !maps.Equal(got, v.model) || v.table.len() != len(v.model) {
				t.Fatalf("%v of %d, want %v", got, v.table.len(), v.model)
			}
			for key := range 9 {
				got, ok := v.table.get(key)
				if want, has := v.model[key]; ok != has || got != want {
					t.Fatalf("%d: %d, %t, want %d, %t", key, got, ok, want, has)
				}
			}
			for _, old := range versions {
				var want []int
				for key := range 9 {
					now, has := v.model[key]
					was, had := old.model[key]
					if has != had || now != was {
						want = append(want, key)
					}
				}
				got := slices.Sorted(v.table.since(&old.table, func(a, b int) bool { return a == b }))
				if !slices.Equal(got, want) {
					t.Fatalf("changed %v, want %v", got, want)
				}
			}
		}
	})
}
