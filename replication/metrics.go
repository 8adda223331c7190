package replication

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	partitions      prometheus.Gauge
	leaders         prometheus.Gauge
	unserved        prometheus.Gauge
	pending         prometheus.Gauge
	hanging         prometheus.Gauge
	appendedBytes   prometheus.Counter
	appendedRecords prometheus.Counter
	applySeconds    prometheus.Histogram
	fetchesWaiting  prometheus.Gauge
	coldReads       *prometheus.CounterVec
	coldPending     prometheus.Gauge
	coldBytes       prometheus.Gauge
	replicatedBytes prometheus.Counter
	truncations     prometheus.Counter
	// The next two move only after an unclean election, or because of a bug.
	truncationsBelowHigh, restarts prometheus.Counter
	followErrors                   prometheus.Counter
	restores                       *prometheus.CounterVec
	fetchFailures                  prometheus.Counter
	isrChanges                     *prometheus.CounterVec
	underReplicated                prometheus.Gauge
	throttledBytes                 *prometheus.CounterVec
	throttleHeld                   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		partitions: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_partitions_count", Help: "Partitions with a replica on this broker.",
		}),
		leaders: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_leaders_count", Help: "Partitions that this broker leads.",
		}),
		unserved: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_unserved_count", Help: "Partitions that cannot be what the metadata says, and are tried again.",
		}),
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_changes_pending_count",
			Help: "Partitions that follow the metadata at the moment: roles, settings, the remote tier's share, and files to delete.",
		}),
		hanging: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_hanging_count",
			Help: "Partitions whose append, role change or deletion has not moved for varve.partition.hang.max.ms. While there are any, " +
				"this broker lets its registration lapse.",
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
		replicatedBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_replicated_bytes_total", Help: "Bytes of batches appended as a follower.",
		}),
		truncations: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_truncations_total", Help: "Times that a follower went back to where it and its leader parted.",
		}),
		truncationsBelowHigh: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_truncations_below_high_watermark_total",
			Help: "Times that a follower gave up committed records that its leader lacks, as after an unclean election.",
		}),
		restarts: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_logs_restarted_total",
			Help: "Times that a follower gave up a whole log with committed records because it shared nothing with its leader's.",
		}),
		followErrors: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_follow_errors_total", Help: "Answers of leaders about a partition that its follower could not go on with.",
		}),
		restores: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replication_restores_total", Help: "Times that a follower took its state from the remote tier, by outcome.",
		}, []string{"outcome"}),
		fetchFailures: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_replication_fetch_failures_total", Help: "Fetches from leaders that failed as a whole.",
		}),
		isrChanges: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replication_isr_changes_total", Help: "In-sync sets proposed by this broker as a leader, by outcome.",
		}, []string{"outcome"}),
		underReplicated: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_replication_under_replicated_count", Help: "Partitions led by this broker that have replicas out of sync.",
		}),
		throttledBytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replication_throttled_bytes_total",
			Help: "Bytes of batches of throttled replicas that this broker, as the leader or the follower, has let through.",
		}, []string{"side"}),
		throttleHeld: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_replication_throttle_held_seconds_total",
			Help: "Time in which a replication throttle of this broker, as the leader or the follower, has held replicas back.",
		}, []string{"side"}),
	}
	for vec, outcomes := range map[*prometheus.CounterVec][]string{
		m.coldReads: {"cached", "read", "late", "failed", "refused"}, m.restores: {"restored", "failed"}, m.isrChanges: {"written", "refused", "failed"},
	} {
		for _, outcome := range outcomes {
			vec.WithLabelValues(outcome)
		}
	}
	return m
}
