package etcd

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// health is what the store's requests have shown of etcd. A registered broker makes a request every
// few seconds, because it keeps its lease alive.
type health struct {
	answered atomic.Int64 // when etcd last answered, in Unix ns; 0: never
	silent   atomic.Bool  // the newest request got no answer
	failures atomic.Int64 // requests without an answer
}

// heard records an answer, also one that rejects the request.
func (h *health) heard() {
	h.answered.Store(time.Now().UnixNano())
	h.silent.Store(false)
}

// missed records a request without an answer, or with the answer that the member has no leader.
func (h *health) missed() {
	h.failures.Add(1)
	h.silent.Store(true)
}

// Register adds the store's metrics to a registry.
func (s *Store) Register(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_etcd_reachable", Help: "1 if etcd has answered this broker's newest request, 0 if not.",
	}, func() float64 {
		if s.health.silent.Load() || s.health.answered.Load() == 0 {
			return 0
		}
		return 1
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_etcd_last_contact_seconds", Help: "Time since etcd last answered a request of this broker, which makes some every few seconds; -1: never.",
	}, func() float64 {
		at := s.health.answered.Load()
		if at == 0 {
			return -1
		}
		return time.Since(time.Unix(0, at)).Seconds()
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "varve_etcd_request_failures_total", Help: "Requests of this broker that etcd did not answer, or had no leader for.",
	}, func() float64 { return float64(s.health.failures.Load()) })
}
