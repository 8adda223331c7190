package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
)

// The metrics of a consumer group are exported by its coordinator.
var (
	groupMembers   = gauge("kafka_consumergroup_members", "Members of the group.", "consumergroup")
	groupOffset    = gauge("kafka_consumergroup_current_offset", "Offset that the group has committed.", "consumergroup", "topic", "partition")
	groupLag       = gauge("kafka_consumergroup_lag", "Records between the committed offset and the partition's end. Missing if the end is not known, because its leader does not answer.", "consumergroup", "topic", "partition")
	groupOffsetSum = gauge("kafka_consumergroup_current_offset_sum", "Sum of the offsets that the group has committed in the topic.", "consumergroup", "topic")
	groupLagSum    = gauge("kafka_consumergroup_lag_sum", "Records between the committed offsets and the ends of the topic's partitions. Missing if one of the ends is not known.", "consumergroup", "topic")
)

const (
	// maxGroupOffsets bounds the groups and committed offsets with series in one scrape, in the
	// order of groups, topics and partitions.
	maxGroupOffsets = 10_000
	// endOffsetsTimeout bounds how long a scrape waits for the coordinators, and for the leaders of
	// partitions without a replica here.
	endOffsetsTimeout = 2 * time.Second
)

type groupCollector struct {
	o    Options
	max  int
	busy sync.Mutex // scrapes ask other brokers one after the other
}

func newGroupCollector(o Options) *groupCollector { return &groupCollector{o: o, max: maxGroupOffsets} }

func (*groupCollector) families() []family {
	return []family{groupMembers, groupOffset, groupLag, groupOffsetSum, groupLagSum}
}

func (c *groupCollector) collect(ch chan<- prometheus.Metric) {
	c.busy.Lock()
	defer c.busy.Unlock()
	// Collect has no context.
	ctx, cancel := context.WithTimeout(context.Background(), endOffsetsTimeout)
	defer cancel()
	list, err := c.o.Groups.Overviews(ctx)
	if err != nil {
		c.o.Logger.Debug("consumer groups are not all in a scrape", slog.Any("error", err))
	}
	slices.SortFunc(list, func(a, b groups.Overview) int { return cmp.Compare(a.ID, b.ID) })
	ends := c.endOffsets(ctx, list)
	left, over := c.max, 0
	for i := range list {
		if left <= 0 {
			over += 1 + len(list[i].Offsets)
			continue
		}
		left -= c.group(ch, &list[i], ends, left)
	}
	omitted.send(ch, float64(over+max(-left, 0)), "groups")
}

// topicSums are the sums of one group in one topic.
type topicSums struct {
	offset, lag float64
	unknown     bool // one of the ends is unknown
}

// group sends a group's series, those of single partitions as long as there is room. It returns how
// much room all of them would need.
func (c *groupCollector) group(ch chan<- prometheus.Metric, g *groups.Overview, ends map[metadata.TopicPartition]int64, room int) int {
	groupMembers.send(ch, float64(g.Members), g.ID)
	sums := map[string]*topicSums{}
	each, offsets := c.o.Partitions(), 0
	for _, tp := range slices.SortedFunc(maps.Keys(g.Offsets), metadata.TopicPartition.Compare) {
		if _, exists := c.o.Image().Partition(tp); !exists {
			continue
		}
		offset := g.Offsets[tp]
		end, known := ends[tp]
		lag := float64(max(end-offset, 0)) // a commit may be newer than the known end
		s := sums[tp.Topic]
		if s == nil {
			s = &topicSums{}
			sums[tp.Topic] = s
		}
		s.offset += float64(offset)
		s.lag += lag
		s.unknown = s.unknown || !known
		if !each {
			continue
		}
		if offsets++; offsets > room {
			continue
		}
		groupOffset.send(ch, float64(offset), g.ID, tp.Topic, number(tp.Partition))
		if known {
			groupLag.send(ch, lag, g.ID, tp.Topic, number(tp.Partition))
		}
	}
	for topic, s := range sums {
		groupOffsetSum.send(ch, s.offset, g.ID, topic)
		if !s.unknown {
			groupLagSum.send(ch, s.lag, g.ID, topic)
		}
	}
	return max(offsets, len(sums), 1)
}

// endOffsets returns the known ends of the partitions in which groups have offsets. A partition
// with an in-sync replica here is read locally. The leaders of the others are asked at the same
// time.
func (c *groupCollector) endOffsets(ctx context.Context, list []groups.Overview) map[metadata.TopicPartition]int64 {
	image, ends := c.o.Image(), map[metadata.TopicPartition]int64{}
	elsewhere := map[int32][]metadata.TopicPartition{}
	asked := map[metadata.TopicPartition]bool{}
	for i := range list {
		for tp := range list[i].Offsets {
			if asked[tp] {
				continue
			}
			asked[tp] = true
			state, ok := image.Partition(tp)
			if !ok {
				continue
			}
			if p, here := c.o.Replicas.Partition(tp); here && slices.Contains(state.ISR, c.o.BrokerID) {
				ends[tp] = p.HighWatermark()
			} else if leader, led := image.Leader(state); led && leader.ID != c.o.BrokerID {
				elsewhere[leader.ID] = append(elsewhere[leader.ID], tp)
			}
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	for id, tps := range elsewhere {
		all.Go(func() {
			told, err := c.o.EndOffsets(ctx, image.Brokers[id], tps)
			if err != nil {
				c.o.Logger.Debug("the lag of groups is not known: a leader does not tell its offsets", slog.Int("leader", int(id)), slog.Any("error", err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(ends, told)
		})
	}
	all.Wait()
	return ends
}
