package groups

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator"
)

// sweepTimer looks from time to time for offsets whose retention is over, and
// for groups that have neither members nor offsets any more.
func (s *shard) sweepTimer() timer {
	return timer{
		Key: coordinator.TimerKey{Kind: "sweep"}, After: s.config.RetentionCheckInterval,
		Op: read(func(s *shard, now time.Time, _ *waiter) decision { return s.sweep(now) }),
	}
}

// sweep hands every group that has something to lose to an operation of its own,
// so that none of them holds up the others.
func (s *shard) sweep(now time.Time) decision {
	var d decision
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		if records, _ := s.expired(id, s.groups[id], now); len(records) > 0 {
			d.SetTimer(timer{
				Key: coordinator.TimerKey{Kind: "expire", Scope: id},
				Op:  exclusive(id, func(s *shard, now time.Time, _ *waiter) decision { return s.expire(id, now) }),
			})
		}
	}
	d.SetTimer(s.sweepTimer())
	return d
}

func (s *shard) expire(id string, now time.Time) decision {
	g, ok := s.groups[id]
	if !ok {
		return decision{}
	}
	var d decision
	var offsets int
	d.Records, offsets = s.expired(id, g, now)
	d.Then = func(s *shard) { s.metrics.expired.Add(float64(offsets)) }
	return d
}

// expired is the tombstones of the group's offsets that are no longer kept, and
// how many these are. If none is left and the group is empty, it goes with them.
func (s *shard) expired(id string, g group, now time.Time) (records []coordinator.Record, offsets int) {
	kept := 0
	for _, topic := range slices.Sorted(maps.Keys(s.offsets[id])) {
		partitions := s.offsets[id][topic]
		if g.subscribed(topic) {
			kept += len(partitions)
			continue
		}
		over := maps.Clone(partitions)
		maps.DeleteFunc(over, func(_ int32, o committedOffset) bool { return s.kept(g, o, now) })
		kept += len(partitions) - len(over)
		records = append(records, topicTombstones(id, topic, over)...)
	}
	offsets = len(records)
	if kept == 0 && g.empty() {
		records = append(records, groupTombstone(id))
	}
	return records, offsets
}

func (s *shard) kept(g group, o committedOffset, now time.Time) bool {
	base, ok := g.expiryBase(o.committed)
	if !ok {
		return true
	}
	if o.expires >= 0 { // the client chose
		return now.UnixMilli() < o.expires
	}
	return now.UnixMilli()-base < s.config.OffsetsRetention.Milliseconds()
}
