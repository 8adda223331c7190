package tiering

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of the package, except for those of watch.go. There is no topic label: the
// numbers of one partition are in its Status.
type metrics struct {
	uploadedSegments prometheus.Counter
	uploadedBytes    prometheus.Counter
	uploadSeconds    prometheus.Histogram
	errors           *prometheus.CounterVec // by operation
	deposed          prometheus.Counter
	deletedObjects   prometheus.Counter
	sweptObjects     prometheus.Counter

	lagBytes    prometheus.Gauge
	lagSegments prometheus.Gauge

	fetches       *prometheus.CounterVec // by kind of object part
	fetchedBytes  prometheus.Counter
	fetchQueue    prometheus.Gauge
	cacheHits     *prometheus.CounterVec
	cacheMisses   *prometheus.CounterVec
	cacheBytes    *prometheus.GaugeVec
	cacheUnread   *prometheus.GaugeVec
	readAhead     prometheus.Counter
	corruptChunks prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "varve_tiering_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "varve_tiering_" + name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "varve_tiering_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		uploadedSegments: counter("uploaded_segments_total", "Segments that were committed to the remote tier."),
		uploadedBytes:    counter("uploaded_bytes_total", "Bytes of segment objects that were committed to the remote tier."),
		uploadSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "varve_tiering_upload_seconds", Help: "Time from opening a segment to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.01, 3, 10),
		}),
		errors:         counters("errors_total", "Failed attempts; all of them are repeated.", "operation"),
		deposed:        counter("deposed_total", "Partitions whose manifest turned out to belong to another leader."),
		deletedObjects: counter("deleted_objects_total", "Objects that retention or the deletion of a topic removed."),
		sweptObjects:   counter("swept_objects_total", "Objects that no manifest named and that the sweeper removed."),
		lagBytes:       gauge("lag_bytes", "Bytes of closed segments that wait to be uploaded."),
		lagSegments:    gauge("lag_segments", "Closed segments that wait to be uploaded."),
		fetches:        counters("fetches_total", "Requests to the object store for reads, by what was read.", "what"),
		fetchedBytes:   counter("fetched_bytes_total", "Bytes that reads got from the object store."),
		fetchQueue:     gauge("fetch_queue_length", "Requests for reads that wait for a free slot."),
		cacheHits:      counters("cache_hits_total", "Look-ups that the cache answered.", "cache"),
		cacheMisses:    counters("cache_misses_total", "Look-ups that needed the object store, or waited for one that did.", "cache"),
		cacheBytes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "varve_tiering_cache_bytes", Help: "Bytes that the cache holds.",
		}, []string{"cache"}),
		cacheUnread: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "varve_tiering_cache_unread_bytes", Help: "Bytes that were read ahead, or are being read, and that no reader has used yet.",
		}, []string{"cache"}),
		readAhead:     counter("read_ahead_chunks_total", "Chunks that were fetched before anybody asked for them."),
		corruptChunks: counter("corrupt_chunks_total", "Chunks whose checksum was wrong when they came from the object store."),
	}
	// The series exist from the start, so that the first event shows as an increase.
	for _, operation := range []string{"upload", "commit", "delete", "sweep", "fetch"} {
		m.errors.WithLabelValues(operation)
	}
	for _, what := range []string{"manifest", "page", "trash", "verify", "index", "part", "chunk"} {
		m.fetches.WithLabelValues(what)
	}
	return m
}
