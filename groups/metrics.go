package groups

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	groups     *prometheus.GaugeVec
	offsets    prometheus.Gauge
	commits    prometheus.Counter
	expired    prometheus.Counter
	rebalances prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		groups: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "varve_groups_groups", Help: "Groups coordinated here, by state.",
		}, []string{"state"}),
		offsets: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_groups_committed_offsets", Help: "Committed offsets held here.",
		}),
		commits: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_groups_offset_commits_total", Help: "Offsets committed, one per partition.",
		}),
		expired: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_groups_offset_expirations_total", Help: "Offsets deleted because their retention time was over.",
		}),
		rebalances: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_groups_rebalances_total", Help: "Rebalances of classic groups that ended with an assignment.",
		}),
	}
	for _, state := range []classicState{empty, preparing, completing, stable} {
		m.groups.WithLabelValues(string(state))
	}
	return m
}
