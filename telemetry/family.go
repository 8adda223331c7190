package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// family is a metric by name, with its series as label values.
type family struct {
	name string
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) family {
	return family{name, prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) family {
	return family{name, prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

// send sends one series.
func (f family) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

func number(n int32) string { return strconv.Itoa(int(n)) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
