package server

import (
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// idleWindow is the shortest time over which the share of processor time is computed.
const idleWindow = 10 * time.Second

// idleness collects the metrics that dashboards for Kafka use to see whether a broker can take more
// load: the share of time in which its threads are idle. Here both names have the same value: the
// share of this machine's processors that the broker left unused in the last ten seconds or more.
type idleness struct {
	descs []*prometheus.Desc
	now   func() time.Time
	used  func() time.Duration // processor time of this process
	cpus  int

	mu struct {
		sync.Mutex
		past, last sample // past is older than idleWindow, or the first sample
	}
}

type sample struct {
	at   time.Time
	used time.Duration
}

func newIdleness() *idleness {
	const help = "Share of the machine's processors that this broker did not use, from 0 to 1, of the last ten seconds or more; a broker has no pool of threads that could be idle."
	i := &idleness{now: time.Now, used: processorTime, cpus: runtime.NumCPU(), descs: []*prometheus.Desc{
		prometheus.NewDesc("kafka_network_socketserver_networkprocessoravgidle_percent", help, nil, nil),
		prometheus.NewDesc("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", help, nil, nil),
	}}
	i.begin()
	return i
}

func (i *idleness) begin() {
	i.mu.past = sample{i.now(), i.used()}
	i.mu.last = i.mu.past
}

// Describe implements [prometheus.Collector].
func (i *idleness) Describe(to chan<- *prometheus.Desc) {
	for _, d := range i.descs {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (i *idleness) Collect(to chan<- prometheus.Metric) {
	share := i.share()
	for _, d := range i.descs {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, share)
	}
}

// share returns the unused share. With several scrapers each value covers at least a window.
func (i *idleness) share() float64 {
	now := sample{i.now(), i.used()}
	i.mu.Lock()
	defer i.mu.Unlock()
	if now.at.Sub(i.mu.last.at) >= idleWindow {
		i.mu.past, i.mu.last = i.mu.last, now
	}
	span := now.at.Sub(i.mu.past.at)
	if span <= 0 {
		return 1
	}
	return min(max(1-float64(now.used-i.mu.past.used)/(float64(span)*float64(i.cpus)), 0), 1)
}

// processorTime returns the processor time of this process, including its time in the kernel.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil { // fails only for a wrong argument
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
