package replication

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	partitions      prometheus.Gauge
	leaders         prometheus.Gauge
	appendedBytes   prometheus.Counter
	appendedRecords prometheus.Counter
	applySeconds    prometheus.Histogram
	fetchesWaiting  prometheus.Gauge
	coldReads       *prometheus.CounterVec
	coldPending     prometheus.Gauge
	coldBytes       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		partitions: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_partitions_count", Help: "Partitions with a replica on this broker.",
		}),
		leaders: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_leaders_count", Help: "Partitions that this broker leads.",
		}),
		appendedBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_appended_bytes_total", Help: "Bytes of batches appended as the leader.",
		}),
		appendedRecords: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_appended_records_total", Help: "Records appended as the leader.",
		}),
		applySeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_replication_apply_seconds", Help: "Time that partitions took to follow a metadata image that changed them.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		fetchesWaiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_fetches_waiting_count", Help: "Fetches that wait for data.",
		}),
		coldReads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replication_cold_reads_total", Help: "Reads from the bucket on behalf of fetches, by outcome.",
		}, []string{"outcome"}),
		coldPending: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_cold_reads_pending_count", Help: "Reads from the bucket that are queued or under way.",
		}),
		coldBytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_cold_read_memory_bytes", Help: "Memory that results of reads from the bucket hold or may need.",
		}),
	}
}
