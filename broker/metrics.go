package broker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/varvelog/varve/protocol"
)

type metrics struct {
	connections   prometheus.Gauge
	rejected      *prometheus.CounterVec
	requests      *prometheus.HistogramVec
	phases        *prometheus.HistogramVec
	requestBytes  *prometheus.CounterVec
	responseBytes *prometheus.CounterVec
	badRequests   prometheus.Counter
	panics        prometheus.Counter

	handshakeFailures *prometheus.CounterVec
}

// newMetrics registers the metrics. With a nil registerer they are kept but not published.
func newMetrics(reg prometheus.Registerer, budget *protocol.Budget) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_request_budget_used_bytes", Help: "Bytes of requests in memory.",
	}, func() float64 { return float64(budget.Used()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_request_budget_waiting_requests", Help: "Requests that wait for memory before the rest of them is read.",
	}, func() float64 { return float64(budget.Waiting()) })
	m := &metrics{
		connections: f.NewGauge(prometheus.GaugeOpts{
			Name: "kafka_server_socket_server_metrics_connection_count", Help: "Open connections of clients and brokers.",
		}),
		rejected: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_broker_connections_rejected_total", Help: "Connections closed on arrival, by the limit they met.",
		}, []string{"limit"}),
		requests: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "varve_broker_request_seconds", Help: "Time from a request's last byte to its response's, by API.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"api"}),
		phases: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "varve_broker_request_phase_seconds",
			Help:    "Parts of that time: accept (decoding, and of Produce the append), wait (its turn and what it waits for, as other replicas, the disk, or news), send (encoding and writing the response).",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"api", "phase"}),
		requestBytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_broker_request_bytes_total", Help: "Bytes of requests, by API.",
		}, []string{"api"}),
		responseBytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_broker_response_bytes_total", Help: "Bytes of responses, by API.",
		}, []string{"api"}),
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
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_broker_request_budget_bytes", Help: "How many bytes of requests may be in memory (queued.max.request.bytes).",
	}, func() float64 { return float64(budget.Size()) })
	m.rejected.WithLabelValues("per_ip")
	return m
}

// apiMetrics are the series of one API, looked up when it is first called: an API that is never
// called has no series, and a call costs no look-up.
type apiMetrics struct {
	seconds, accept, wait, send prometheus.Observer
	requestBytes, responseBytes prometheus.Counter
}

func (m *metrics) of(api string) func() *apiMetrics {
	return sync.OnceValue(func() *apiMetrics {
		return &apiMetrics{
			seconds: m.requests.WithLabelValues(api),
			accept:  m.phases.WithLabelValues(api, "accept"), wait: m.phases.WithLabelValues(api, "wait"), send: m.phases.WithLabelValues(api, "send"),
			requestBytes: m.requestBytes.WithLabelValues(api), responseBytes: m.responseBytes.WithLabelValues(api),
		}
	})
}

// times says when a request was read, and how long after that it was accepted and answered.
type times struct {
	read               time.Time
	accepted, answered time.Duration
}

// observe counts a request whose response has just been sent.
func (m *apiMetrics) observe(t times) {
	sent := time.Since(t.read)
	m.seconds.Observe(sent.Seconds())
	m.accept.Observe(t.accepted.Seconds())
	m.wait.Observe((t.answered - t.accepted).Seconds())
	m.send.Observe((sent - t.answered).Seconds())
}
