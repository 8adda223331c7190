package metadata

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	revision   prometheus.Gauge
	relists    prometheus.Counter
	badValues  prometheus.Counter
	unreadable prometheus.Gauge
	unclean    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		revision: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_metadata_image_revision",
			Help: "Revision of the newest cluster image on this broker.",
		}),
		relists: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_metadata_relists_total",
			Help: "Times the whole state was read again because events had been compacted.",
		}),
		badValues: f.NewCounter(prometheus.CounterOpts{
			Name: "varve_metadata_unreadable_batches_total",
			Help: "Batches of changes with a value that could not be read.",
		}),
		unreadable: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_metadata_unreadable_keys",
			Help: "Keys of the metadata that this broker cannot read. While there is one, nothing is deleted because it is missing in the metadata.",
		}),
		unclean: f.NewCounter(prometheus.CounterOpts{
			Name: "kafka_controller_controllerstats_uncleanleaderelections_total",
			Help: "Replicas that were neither in sync nor eligible and that this broker, as the controller or on request, has had elected.",
		}),
	}
}
