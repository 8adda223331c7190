package coordinator

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	shards     *prometheus.GaugeVec
	pending    prometheus.Gauge
	overloads  prometheus.Counter
	appends    *prometheus.CounterVec
	records    prometheus.Counter
	appendTime prometheus.Histogram
	loadTime   prometheus.Histogram
	skipped    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		shards: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "varve_coordinator_shards", Help: "Partitions coordinated here, by state.",
		}, []string{"state"}),
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_coordinator_pending_operations", Help: "Operations that wait to be decided or for their records to be committed.",
		}),
		overloads: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_coordinator_overloads_total", Help: "Operations refused because a shard's queue was full.",
		}),
		appends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_coordinator_appends_total", Help: "Batches written to the internal topic, by result.",
		}, []string{"result"}),
		records: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_coordinator_appended_records_total", Help: "Records committed to the internal topic.",
		}),
		appendTime: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_coordinator_append_seconds", Help: "Time from append to commit of a batch.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		loadTime: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_coordinator_load_seconds", Help: "Time to read a partition after its election.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		skipped: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_coordinator_skipped_records_total", Help: "Records of the log that made no sense and were skipped.",
		}),
	}
	for _, state := range []string{"loading", "active"} {
		m.shards.WithLabelValues(state)
	}
	for _, result := range []string{"ok", "error", "uncertain"} {
		m.appends.WithLabelValues(result)
	}
	return m
}
