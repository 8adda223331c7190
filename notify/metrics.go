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
	m := &metrics{
		published: vec("varve_notify_published_total", "Hints handed to NATS."),
		dropped:   vec("varve_notify_dropped_total", "Hints not sent, or not understood."),
		received:  vec("varve_notify_received_total", "Hints delivered to this broker."),
	}
	for _, name := range []string{kind(BrokerSuspect{}), kind(SegmentTiered{})} {
		for _, v := range []*prometheus.CounterVec{m.published, m.dropped, m.received} {
			v.WithLabelValues(name)
		}
	}
	return m
}

// watch adds the metrics of the connection.
func (b *Bus) watch(r prometheus.Registerer) {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_notify_connected", Help: "1 while this broker is connected to NATS, 0 while it is not: changes are noticed later then.",
	}, func() float64 {
		if b.conn.IsConnected() {
			return 1
		}
		return 0
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "varve_notify_reconnects_total", Help: "Times that the connection to NATS came back.",
	}, func() float64 { return float64(b.conn.Stats().Reconnects) })
}
