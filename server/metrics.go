package server

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/varvelog/varve/telemetry"
)

// registerMetrics adds the metrics that combine several parts.
func (s *server) registerMetrics() error {
	return s.registry.Register(telemetry.New(telemetry.Options{
		BrokerID: s.Config.NodeID, Listener: s.Config.InterBrokerListener(), Logger: s.log,
		Image: s.loader.Image, IsController: func() bool { return s.controller.Epoch() != 0 },
		Replicas: s.replicas, Groups: s.groups,
		EndOffsets: s.dialer().EndOffsets,
		Partitions: func() bool { return s.settings.Broker().Bool("varve.metrics.partitions") },
	}))
}

// processMetrics are metrics of the process, from its start.
func processMetrics(version string) []prometheus.Collector {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "varve_build_info", Help: "1; the labels tell which version runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	return []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, newIdleness(),
	}
}
