package main

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

// TestReadPlan: two partitions, one with the offsets 10..99 and one empty, and each way to begin.
func TestReadPlan(t *testing.T) {
	starts, ends := client.Offsets{0: 10, 1: 5}, client.Offsets{0: 100, 1: 5}
	times := client.Offsets{0: 42, 1: 5}
	for _, c := range []struct {
		from    position
		reading string // what remains to be read until the end, by partition
		notes   int
	}{
		{position{kind: atBeginning}, "map[0:100]", 0},
		{position{kind: atEnd}, "map[]", 0},
		{position{kind: atTime, at: 1}, "map[0:100]", 0},
		{position{kind: atOffset, at: 50}, "map[0:100]", 1}, // partition 1 has no offset 50
		{position{kind: atOffset, at: 3}, "map[0:100]", 2},
		{position{kind: atOffset, at: 1000}, "map[]", 2},
	} {
		notes := 0
		p := newReadPlan(consumeOptions{topic: "t", until: "end", start: c.from}, starts, ends, times, func(string) { notes++ })
		if got := fmt.Sprint(p.ends); got != c.reading || notes != c.notes || p.finished() != (c.reading == "map[]") {
			t.Errorf("%+v: reads %s with %d notes, want %s with %d", c.from, got, notes, c.reading, c.notes)
		}
	}
	p := newReadPlan(consumeOptions{topic: "t", start: position{kind: atEnd}}, starts, ends, nil, func(string) { t.Error("a note") })
	if p.finished() {
		t.Error("reading that goes on is finished")
	}
}

func TestReadPlanPassesTheEnd(t *testing.T) {
	p := &readPlan{ends: map[int32]int64{0: 3, 1: 10}}
	for _, c := range []struct {
		partition int32
		offset    int64
		wanted    bool
		finished  bool
	}{
		{0, 0, true, false}, {0, 2, true, false}, {0, 3, false, false}, // past the end of partition 0
		{1, 8, true, false}, {1, 11, false, true}, // 9 was compacted away
	} {
		if wanted := p.pass(&kgo.Record{Partition: c.partition, Offset: c.offset}); wanted != c.wanted || p.finished() != c.finished {
			t.Errorf("%d/%d: wanted %v, finished %v", c.partition, c.offset, wanted, p.finished())
		}
	}
}

func TestReadPlanEndsWithTheLastRecord(t *testing.T) {
	p := &readPlan{ends: map[int32]int64{0: 3}}
	if !p.pass(&kgo.Record{Offset: 2}) || !p.finished() {
		t.Error("after the record before the end there is more to read")
	}
}
