package storage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// cleanerMetrics are the metrics of compaction.
type cleanerMetrics struct {
	readBytes    prometheus.Counter
	writtenBytes prometheus.Counter
	seconds      prometheus.Histogram
	dirtiest     prometheus.Gauge
	overdue      prometheus.Gauge
	uncleanable  prometheus.Gauge
}

func newCleanerMetrics(reg prometheus.Registerer) *cleanerMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "varve_storage_cleaner_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "varve_storage_cleaner_" + name, Help: help})
	}
	return &cleanerMetrics{
		readBytes:    counter("read_bytes_total", "Bytes of batches that compaction read, in both passes."),
		writtenBytes: counter("written_bytes_total", "Bytes of batches that compaction wrote."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_storage_cleaner_seconds", Help: "Time of compacting one log.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 9),
		}),
		dirtiest:    gauge("max_dirty_ratio", "Dirty part of what could be compacted, of the log where it is largest."),
		overdue:     gauge("max_overdue_seconds", "How much longer than max.compaction.lag.ms a record has waited for compaction, at most."),
		uncleanable: gauge("uncleanable_partitions", "Partitions that compaction has given up on until the broker restarts; the log says why."),
	}
}
