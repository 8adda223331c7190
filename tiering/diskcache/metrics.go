package diskcache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	bytes         prometheus.Gauge
	reads, writes *prometheus.CounterVec // by outcome
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		bytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_tiering_disk_cache_bytes", Help: "Bytes of blocks that the disk cache of the remote tier has.",
		}),
		reads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_tiering_disk_cache_reads_total",
			Help: "Look-ups in the disk cache of the remote tier, by outcome. All but hit lead to the object store.",
		}, []string{"outcome"}),
		writes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_tiering_disk_cache_writes_total",
			Help: "Blocks that the disk cache of the remote tier was to keep, by outcome: dropped where the disk is slow, full or broken.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"hit", "miss", "busy", "late", "damaged", "failed"} {
		m.reads.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"written", "dropped", "failed"} {
		m.writes.WithLabelValues(outcome)
	}
	return m
}
