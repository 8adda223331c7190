package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	published *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	received  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	vec := func(name, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"kind"})
	}
	return &metrics{
		published: vec("varve_notify_published_total", "Hints handed to NATS."),
		dropped:   vec("varve_notify_dropped_total", "Hints not sent, or not understood."),
		received:  vec("varve_notify_received_total", "Hints delivered to this broker."),
	}
}
