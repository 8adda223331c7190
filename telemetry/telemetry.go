package telemetry

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication"
)

// Options are the sources of the numbers. Everything is required.
type Options struct {
	BrokerID int32
	Listener string // name of the brokers' listener
	Logger   *slog.Logger

	Image        func() *metadata.Image
	IsController func() bool
	Replicas     *replication.Manager
	Groups       groupSource
	// EndOffsets asks a leader for the ends of partitions: their high watermarks. Partitions
	// without an answer are missing in the result.
	EndOffsets func(ctx context.Context, leader metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]int64, error)
	// Partitions reports whether single partitions have series (varve.metrics.partitions). It is
	// called at every scrape.
	Partitions func() bool
}

// groupSource is *groups.Coordinator.
type groupSource interface {
	Overviews(ctx context.Context) ([]groups.Overview, error)
}

// maxPartitions bounds the partitions with their own series in one scrape, in the order of their
// topics' names.
const maxPartitions = 10_000

// maxTopics bounds the topics with their own series in one scrape, in the order of their names.
const maxTopics = 10_000

var omitted = gauge("varve_telemetry_omitted_count", "What had no series of its own in this scrape because there is too much of it.", "what")

// part collects the metrics of one subject.
type part interface {
	families() []family
	collect(ch chan<- prometheus.Metric)
}

// Collector is a prometheus.Collector of everything that this package exports.
type Collector struct{ parts []part }

// New makes a collector.
func New(o Options) *Collector {
	return &Collector{parts: []part{
		topicCollector{o, maxTopics}, &partitionCollector{o, maxPartitions}, replicaCollector{o}, clusterCollector{o}, dirCollector{o}, newGroupCollector(o),
	}}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- omitted.desc
	for _, p := range c.parts {
		for _, f := range p.families() {
			ch <- f.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range c.parts {
		p.collect(ch)
	}
}

// Types returns the types of the metrics by their names, for documents: a metric without series
// does not show its type.
func (c *Collector) Types() map[string]prometheus.ValueType {
	types := map[string]prometheus.ValueType{omitted.name: omitted.kind}
	for _, p := range c.parts {
		for _, f := range p.families() {
			types[f.name] = f.kind
		}
	}
	return types
}
