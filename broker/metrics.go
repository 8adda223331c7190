package broker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/varvelog/varve/protocol"
)

type metrics struct {
	connections   prometheus.Gauge
	rejected      *prometheus.CounterVec
	requests      *prometheus.HistogramVec
	requestBytes  prometheus.Counter
	responseBytes prometheus.Counter
	badRequests   prometheus.Counter
	panics        prometheus.Counter

	handshakeFailures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, budget *protocol.Budget) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_request_budget_used_bytes", Help: "Bytes of requests in memory.",
	}, func() float64 { return float64(budget.Used()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_request_budget_waiting_requests", Help: "Requests that wait for memory before the rest of them is read.",
	}, func() float64 { return float64(budget.Waiting()) })
	return &metrics{
		connections: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_broker_connections_open", Help: "Open client connections.",
		}),
		rejected: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_broker_connections_rejected_total", Help: "Connections closed on arrival, by the limit they met.",
		}, []string{"limit"}),
		requests: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "varve_broker_request_seconds", Help: "Time from a request's last byte to its response's, by API.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"api"}),
		requestBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_broker_request_bytes_total", Help: "Bytes of requests read.",
		}),
		responseBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_broker_response_bytes_total", Help: "Bytes of responses written.",
		}),
		badRequests: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_broker_bad_requests_total", Help: "Requests that were malformed or not supported and ended their connection.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_broker_panics_total", Help: "Panics in handlers; each ended one connection.",
		}),
		handshakeFailures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_broker_tls_handshake_failures_total", Help: "Connections that ended in the TLS handshake, by listener; one that is only opened and closed counts.",
		}, []string{"listener"}),
	}
}

func (m *metrics) observe(api string, since time.Time) {
	m.requests.WithLabelValues(api).Observe(time.Since(since).Seconds())
}
