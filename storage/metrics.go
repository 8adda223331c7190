package storage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters and histograms of the package. No label names a topic.
type metrics struct {
	appendBytes     prometheus.Counter
	appendBatches   prometheus.Counter
	rolls           prometheus.Counter
	fsyncSeconds    prometheus.Histogram
	commitSeconds   prometheus.Histogram
	commitLogs      prometheus.Histogram
	deletedSegments prometheus.Counter
	truncatedBytes  prometheus.Counter
	rebuiltIndexes  prometheus.Counter

	pressureSegments prometheus.Counter
	pressureBytes    prometheus.Counter
}

// gauges are the functions that a scrape calls.
type gauges struct{ openFiles, logs, failed, stalled, full func() float64 }

func newMetrics(reg prometheus.Registerer, g gauges) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "varve_storage_" + name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_storage_open_files", Help: "Segment files that are open now."}, g.openFiles)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_storage_logs", Help: "Partitions with a log on this broker."}, g.logs)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "varve_storage_failed_dirs", Help: "Data directories that failed and serve nothing."}, g.failed)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_storage_stalled_dirs", Help: "Data directories that failed because an operation on their disk did not return in time.",
	}, g.stalled)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_storage_full_dirs",
		Help: "Data directories whose volume is above varve.disk.high.watermark, with nothing left to delete that is in the object store.",
	}, g.full)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kafka_log_logmanager_offlinelogdirectorycount", Help: "Data directories that failed and serve nothing: varve_storage_failed_dirs.",
	}, g.failed)
	return &metrics{
		appendBytes:     counter("append_bytes_total", "Bytes of batches written to logs."),
		appendBatches:   counter("append_batches_total", "Batches written to logs."),
		rolls:           counter("rolls_total", "Segments closed because a new one was begun."),
		deletedSegments: counter("deleted_segments_total", "Segments whose files were removed."),
		truncatedBytes:  counter("recovery_truncated_bytes_total", "Bytes that recovery cut off because they were no valid batches."),
		rebuiltIndexes:  counter("rebuilt_segments_total", "Segments whose indexes were rebuilt at start."),
		pressureSegments: counter("pressure_deleted_segments_total",
			"Segments that were deleted before local retention asked for it, because the volume was above varve.disk.high.watermark."),
		pressureBytes: counter("pressure_deleted_bytes_total",
			"Bytes of the segments that were deleted because the volume was above varve.disk.high.watermark."),
		fsyncSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_storage_fsync_seconds", Help: "Time of making a log's data durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		commitSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_storage_commit_seconds", Help: "Time of a round in which the logs whose appends wait for the disk are made durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		commitLogs: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_storage_commit_logs", Help: "Logs that shared such a round.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
	}
}
