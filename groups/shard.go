package groups

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator"
)

type (
	decision = coordinator.Decision[*shard]
	op       = coordinator.Op[*shard]
	timer    = coordinator.Timer[*shard]
	waiter   = coordinator.Waiter
)

// shard is the state of one partition of __consumer_offsets. Its owner is the
// goroutine of the coordinator runtime. Groups are immutable: a transition makes
// the successor of a group and puts it in its place when it is committed.
type shard struct {
	config  Config
	metrics *metrics
	logger  *slog.Logger

	groups  map[string]group
	offsets map[string]topicOffsets
}

// topicOffsets are a group's committed offsets by topic and partition.
type topicOffsets map[string]map[int32]committedOffset

func newShard(config Config, m *metrics, logger *slog.Logger) *shard {
	return &shard{
		config: config, metrics: m, logger: logger,
		groups: map[string]group{}, offsets: map[string]topicOffsets{},
	}
}

// Loaded starts session timers of the members in the log, who may or may not
// still be there, and the sweep.
func (s *shard) Loaded(now time.Time) []timer {
	timers := []timer{s.sweepTimer()}
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		c, ok := s.groups[id].(*classicGroup)
		if !ok {
			continue
		}
		for _, m := range c.ordered() {
			timers = append(timers, sessionTimer(id, m.id, m.sessionTimeout))
		}
		if len(c.members) > s.config.MaxSize {
			timers = append(timers, overCapacityTimer(id))
		}
	}
	return timers
}

// Unloaded takes the groups out of the metrics.
func (s *shard) Unloaded() {
	for _, g := range s.groups {
		s.metrics.groups.WithLabelValues(g.stateName()).Dec()
	}
	s.metrics.offsets.Sub(float64(s.offsetCount()))
}

func (s *shard) offsetCount() int {
	n := 0
	for _, topics := range s.offsets {
		for _, partitions := range topics {
			n += len(partitions)
		}
	}
	return n
}

// put installs a group, or the successor of one.
func (s *shard) put(id string, g group) {
	if old, ok := s.groups[id]; ok {
		s.metrics.groups.WithLabelValues(old.stateName()).Dec()
	}
	s.metrics.groups.WithLabelValues(g.stateName()).Inc()
	s.groups[id] = g
}

func (s *shard) remove(id string) {
	if old, ok := s.groups[id]; ok {
		s.metrics.groups.WithLabelValues(old.stateName()).Dec()
		delete(s.groups, id)
	}
}

// classic finds a group that the requests of the classic protocol are for.
func (s *shard) classic(id string) (*classicGroup, bool) {
	g, ok := s.groups[id].(*classicGroup)
	return g, ok
}

// exclusive is an operation on a group that nothing else overlaps.
func exclusive(groupID string, decide func(*shard, time.Time, *waiter) decision) op {
	return op{Key: groupID, Access: coordinator.Exclusive, Decide: decide}
}

// shared is one that does not depend on what other shared ones write.
func shared(groupID string, decide func(*shard, time.Time, *waiter) decision) op {
	return op{Key: groupID, Access: coordinator.Shared, Decide: decide}
}

// read is one that looks at committed state only.
func read(decide func(*shard, time.Time, *waiter) decision) op {
	return op{Access: coordinator.Read, Decide: decide}
}

// answer is a decision that changes nothing.
func answer(w *waiter, response any) decision {
	var d decision
	d.Reply(w, response)
	return d
}
