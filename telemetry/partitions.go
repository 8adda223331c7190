package telemetry

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication"
)

// The series of single partitions. All but the log's size are exported by the leader, or by the
// controller while there is none.
var (
	currentOffset     = partitionGauge("current_offset", "The partition's end as consumers see it: the high watermark.")
	oldestOffset      = partitionGauge("oldest_offset", "Where the partition's log starts, over both tiers.")
	inSyncReplica     = partitionGauge("in_sync_replica", "Replicas in sync.")
	leaderOf          = partitionGauge("leader", "Id of the broker that leads; -1: none.")
	leaderIsPreferred = partitionGauge("leader_is_preferred", "1 if the preferred replica leads.")
	replicasOf        = partitionGauge("replicas", "Replicas.")
	underReplicated   = partitionGauge("under_replicated_partition", "1 if replicas are out of sync.")

	underMinISR   = gauge("kafka_cluster_partition_underminisr", "1 if fewer than min.insync.replicas are in sync, so that acks=all is refused.", "topic", "partition")
	atMinISR      = gauge("kafka_cluster_partition_atminisr", "1 if just min.insync.replicas are in sync.", "topic", "partition")
	replicasCount = gauge("kafka_cluster_partition_replicascount", "Replicas.", "topic", "partition")
	inSyncCount   = gauge("kafka_cluster_partition_insyncreplicascount", "Replicas in sync.", "topic", "partition")

	logSize = gauge("kafka_log_log_size", "Bytes of the segments on this broker's disk; every replica has its own.", "topic", "partition")
)

func partitionGauge(name, help string) family {
	return gauge("kafka_topic_partition_"+name, help, "topic", "partition")
}

type partitionCollector struct {
	o   Options
	max int
}

func (*partitionCollector) families() []family {
	return []family{
		currentOffset, oldestOffset, inSyncReplica, leaderOf, leaderIsPreferred, replicasOf, underReplicated,
		underMinISR, atMinISR, replicasCount, inSyncCount, logSize,
	}
}

func (c *partitionCollector) collect(ch chan<- prometheus.Metric) {
	if !c.o.Partitions() {
		omitted.send(ch, 0, "partitions")
		return
	}
	hosted := c.hosted()
	for _, p := range hosted[:min(len(hosted), c.max)] {
		c.replica(ch, p)
	}
	left := len(hosted) - c.max
	if c.o.IsController() {
		left = max(left, 0) + c.leaderless(ch)
	}
	omitted.send(ch, float64(max(left, 0)), "partitions")
}

// hosted returns the replicas on this broker, in a stable order.
func (c *partitionCollector) hosted() []*replication.Partition {
	list := slices.Collect(c.o.Replicas.Partitions())
	slices.SortFunc(list, func(a, b *replication.Partition) int {
		return a.TopicPartition().Compare(b.TopicPartition())
	})
	// While one topic replaces another of the same name, only one of them has series.
	list = slices.CompactFunc(list, func(a, b *replication.Partition) bool { return a.TopicPartition() == b.TopicPartition() })
	return list
}

func (c *partitionCollector) replica(ch chan<- prometheus.Metric, p *replication.Partition) {
	topic, partition := p.TopicPartition().Topic, number(p.TopicPartition().Partition)
	logSize.send(ch, float64(p.Log().Size()), topic, partition)
	s := p.Snapshot()
	if !s.Leader {
		return
	}
	currentOffset.send(ch, float64(s.HighWatermark), topic, partition)
	oldestOffset.send(ch, float64(s.LogStart), topic, partition)
	underMinISR.send(ch, truth(s.UnderMinISR()), topic, partition)
	atMinISR.send(ch, truth(s.AtMinISR()), topic, partition)
	sendState(ch, topic, partition, c.o.BrokerID, s.Replicas, s.InSync)
}

func sendState(ch chan<- prometheus.Metric, topic, partition string, leader int32, replicas []int32, inSync int) {
	leaderOf.send(ch, float64(leader), topic, partition)
	leaderIsPreferred.send(ch, truth(len(replicas) > 0 && replicas[0] == leader), topic, partition)
	replicasOf.send(ch, float64(len(replicas)), topic, partition)
	inSyncReplica.send(ch, float64(inSync), topic, partition)
	underReplicated.send(ch, truth(inSync < len(replicas)), topic, partition)
	replicasCount.send(ch, float64(len(replicas)), topic, partition)
	inSyncCount.send(ch, float64(inSync), topic, partition)
}

// leaderless sends, on the controller, the partitions without a leader: they have no live in-sync
// replica. It returns how many are left out.
func (c *partitionCollector) leaderless(ch chan<- prometheus.Metric) (left int) {
	n := 0
	for tp, p := range offline(c.o.Image()) {
		own, here := c.o.Replicas.Partition(tp)
		// This broker still leads although its registration has expired.
		if here && own.IsLeader() {
			continue
		}
		if n++; n <= c.max {
			sendState(ch, tp.Topic, number(tp.Partition), metadata.NoBroker, p.Replicas, 0)
		}
	}
	return max(n-c.max, 0)
}

// offline yields the partitions that have no live leader.
func offline(image *metadata.Image) func(yield func(metadata.TopicPartition, *metadata.Partition) bool) {
	return func(yield func(metadata.TopicPartition, *metadata.Partition) bool) {
		for t := range image.Topics() {
			for i := range t.Partitions {
				p := t.Partitions[i]
				if _, led := image.Leader(p); !led && !yield(metadata.TopicPartition{Topic: t.Name, Partition: int32(i)}, p) {
					return
				}
			}
		}
	}
}
