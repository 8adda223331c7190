package replication

import (
	"testing"

	"github.com/varvelog/varve/metadata"
)

func TestIndexIsReplacedNotChanged(t *testing.T) {
	old, fresh := metadata.TopicID{1}, metadata.TopicID{2}
	newPartition := func(id metadata.TopicID, number int32) *Partition {
		return &Partition{tp: metadata.TopicPartition{Topic: "a", Partition: number}, topicID: id}
	}
	first := (&index{byName: map[string]*hostedTopic{}, byID: map[metadata.TopicID]*hostedTopic{}}).edit()
	gone := []*Partition{newPartition(old, 0), newPartition(old, 2)}
	for _, p := range gone {
		first.add(p)
	}
	if p, ok := first.byName["a"].partition(2); !ok || p != gone[1] {
		t.Error("a-2 is not found")
	}
	for _, number := range []int32{-1, 1, 3} {
		if _, ok := first.byID[old].partition(number); ok {
			t.Errorf("a-%d is found", number)
		}
	}
	second := first.edit()
	second.add(newPartition(fresh, 0))
	for _, p := range gone {
		second.remove(p)
	}
	if _, ok := second.byID[old]; ok || second.byName["a"] != second.byID[fresh] {
		t.Error("the older topic of the name is still there, or took the name with it")
	}
	if _, ok := first.byName["a"].partition(0); !ok || first.byName["a"].id != old {
		t.Error("the first index has changed")
	}
}
