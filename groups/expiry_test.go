package groups

import (
	"testing"
	"time"
)

// TestOffsetsAreKeptForTheirTime has the last moment at which an offset is kept, and the next.
func TestOffsetsAreKeptForTheirTime(t *testing.T) {
	s := &shard{config: Config{OffsetsRetention: time.Hour}}
	members := newClassicGroup("members", 5000) // empty since then
	members.protocolType = consumerProtocol
	for name, c := range map[string]struct {
		g    group
		o    committedOffset
		over int64 // ms
	}{
		"since the commit":               {newClassicGroup("simple", 5000), committedOffset{committed: 1000, expires: -1}, 1000 + 3600_000},
		"since the group became empty":   {members, committedOffset{committed: 1000, expires: -1}, 5000 + 3600_000},
		"as long as the client has said": {members, committedOffset{committed: 1000, expires: 7000}, 7000},
	} {
		for late, kept := range map[int64]bool{-1: true, 0: false} {
			if got := s.kept(c.g, c.o, time.UnixMilli(c.over+late)); got != kept {
				t.Errorf("%s: kept %t at %d ms after its time", name, got, late)
			}
		}
	}
}
