package telemetry

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/replication"
)

// topicCounters are Kafka's BrokerTopicMetrics. Every broker counts its own traffic.
var topicCounters = []struct {
	family
	value func(*replication.Traffic) *atomic.Int64
}{
	{topicCounter("bytesin", "Bytes of batches that producers have appended."), func(t *replication.Traffic) *atomic.Int64 { return &t.BytesIn }},
	{topicCounter("bytesout", "Bytes of batches that consumers were sent."), func(t *replication.Traffic) *atomic.Int64 { return &t.BytesOut }},
	{topicCounter("messagesin", "Records that producers have appended."), func(t *replication.Traffic) *atomic.Int64 { return &t.MessagesIn }},
	{topicCounter("totalproducerequests", "Partitions in Produce requests."), func(t *replication.Traffic) *atomic.Int64 { return &t.Produces }},
	{topicCounter("totalfetchrequests", "Partitions in Fetch requests, of followers as well."), func(t *replication.Traffic) *atomic.Int64 { return &t.Fetches }},
	{topicCounter("failedproducerequests", "Partitions in Produce requests that got an error, other than that another broker leads."), func(t *replication.Traffic) *atomic.Int64 { return &t.FailedProduces }},
	{topicCounter("failedfetchrequests", "Partitions in Fetch requests that got an error, other than that another broker leads or the offset is out of range."), func(t *replication.Traffic) *atomic.Int64 { return &t.FailedFetches }},
	{topicCounter("replicationbytesin", "Bytes of batches appended as a follower."), func(t *replication.Traffic) *atomic.Int64 { return &t.ReplicatedBytes }},
	{topicCounter("remotefetchbytes", "Bytes of batches read from the remote tier for fetches."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.FetchBytes }},
	{topicCounter("remotefetchrequests", "Reads of the remote tier for fetches."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.FetchRequests }},
	{topicCounter("remotefetcherrors", "Reads of the remote tier for fetches that failed."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.FetchErrors }},
	{topicCounter("remotecopybytes", "Bytes of segments committed to the remote tier."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.CopyBytes }},
	{topicCounter("remotecopyrequests", "Attempts to copy a segment to the remote tier."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.CopyRequests }},
	{topicCounter("remotecopyerrors", "Attempts to copy a segment to the remote tier that failed; all are repeated."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.CopyErrors }},
	{topicCounter("remotedeleterequests", "Deletions of objects that have expired."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.DeleteRequests }},
	{topicCounter("remotedeleteerrors", "Deletions of objects that failed; all are repeated."), func(t *replication.Traffic) *atomic.Int64 { return &t.Remote.DeleteErrors }},
}

func topicCounter(name, help string) family {
	return counter("kafka_server_brokertopicmetrics_"+name+"_total", help, "topic")
}

type topicCollector struct {
	o   Options
	max int
}

func (topicCollector) families() []family {
	list := make([]family, len(topicCounters))
	for i, c := range topicCounters {
		list[i] = c.family
	}
	return list
}

// collect sums up the traffic by name. While one topic replaces another of the same name, both
// count.
func (t topicCollector) collect(ch chan<- prometheus.Metric) {
	sums := map[string][]int64{}
	for traffic := range t.o.Replicas.Traffic() {
		sum := sums[traffic.Topic()]
		if sum == nil {
			sum = make([]int64, len(topicCounters))
			sums[traffic.Topic()] = sum
		}
		for i, c := range topicCounters {
			sum[i] += c.value(traffic).Load()
		}
	}
	names := slices.Sorted(maps.Keys(sums))
	for _, topic := range names[:min(len(names), t.max)] {
		for i, c := range topicCounters {
			c.send(ch, float64(sums[topic][i]), topic)
		}
	}
	omitted.send(ch, float64(max(len(names)-t.max, 0)), "topics")
}
