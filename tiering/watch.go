package tiering

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// success is a kind of success whose age is a metric.
type success int

const (
	successUpload success = iota // a segment was committed
	successCommit                // a manifest was committed
	successSweep                 // a sweep of a partition ended
	successCount
)

func (s success) String() string { return [successCount]string{"upload", "commit", "sweep"}[s] }

// lastSuccess is when each kind last happened, for any partition. Before the first time it is when
// the Manager was created.
type lastSuccess [successCount]atomic.Int64 // unix ns

func (l *lastSuccess) begin(now time.Time) {
	for s := range l {
		l[s].Store(now.UnixNano())
	}
}

func (l *lastSuccess) note(s success, now time.Time) { l[s].Store(now.UnixNano()) }

func (l *lastSuccess) age(s success, now time.Time) time.Duration {
	return max(now.Sub(time.Unix(0, l[s].Load())), 0)
}

// trouble is what is wrong over all partitions. Each duration is the longest of any partition.
type trouble struct {
	lag         time.Duration            // time for which segments wait and none is uploaded
	overLag     time.Duration            // by which a record exceeds varve.tier.max.lag.ms
	failing     [workCount]time.Duration // time for which each kind of work has failed
	undeletable int                      // number of objects that could not be deleted
	overdue     time.Duration            // time for which an object could not be deleted
	damaged     int                      // number of damaged objects
}

// trouble collects from all partitions.
func (m *Manager) trouble() trouble {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var t trouble
	now := m.o.Now()
	longest := func(of *time.Duration, since time.Time) {
		if !since.IsZero() {
			*of = max(*of, now.Sub(since))
		}
	}
	for _, p := range m.mu.partitions { // any order
		t.damaged += len(p.damaged())
		if p.follower != nil {
			continue
		}
		longest(&t.lag, p.waitsSince())
		t.overLag = max(t.overLag, p.overdue(now))
		for w, since := range p.failingSince() {
			longest(&t.failing[w], since)
		}
		if n, _, worst := p.deletions.overdue(); n > 0 {
			t.undeletable += n
			longest(&t.overdue, worst.since)
		}
	}
	longest(&t.overdue, m.cleaning.since())
	return t
}

// failingSince returns since when each kind of work has failed. For a deposed leader no work
// counts as failing.
func (p *partition) failingSince() map[work]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.failures) == 0 || p.mu.state == StateDeposed {
		return nil
	}
	since := make(map[work]time.Time, len(p.mu.failures))
	for w, f := range p.mu.failures { // any order
		since[w] = f.since
	}
	return since
}

// watch is the collector of metrics that are computed at the scrape.
type watch struct{ m *Manager }

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("varve_tiering_"+name, help, labels, nil)
}

var (
	lagSeconds = described("lag_seconds",
		"Time for which a partition has had closed segments to upload and has uploaded none, of the partition where that is longest.")
	overLagSeconds = described("max_lag_exceeded_seconds",
		"How much longer than varve.tier.max.lag.ms a record has waited to be uploaded, of the partition where that is most; 0: none has.")
	failingSeconds = described("failing_seconds",
		"Time for which a kind of work on a partition's remote tier has failed, of the partition where that is longest; 0: it does not fail.", "work")
	successSeconds = described("success_age_seconds",
		"Time since a segment (upload) or a manifest (commit) was committed last, or a partition was swept (sweep), or since the start.", "operation")
	undeletableObjects = described("undeletable_objects",
		"Objects that could not be deleted the last time that it was tried.")
	overdueSeconds = described("deletion_overdue_seconds",
		"Time for which an object could not be deleted, of the one where that is longest; 0: there is none.")
	damagedObjects = described("damaged_objects",
		"Objects of the remote tier that reads have found missing or damaged; varve tier status names them.")
	orphanObjects = described("orphan_objects",
		"Objects in the bucket that belong to no topic, as the controller has found them last; 0 on other brokers.")
	orphanBytes = described("orphan_bytes",
		"Bytes of the objects in the bucket that belong to no topic, as the controller has found them last; 0 on other brokers.")
	orphanSuspects = described("orphan_suspect_topics",
		"Topics that the bucket describes and has objects of, and that the metadata do not know: these may have been restored to an older state. No orphan is deleted then.")
)

// Describe implements prometheus.Collector.
func (watch) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		lagSeconds, overLagSeconds, failingSeconds, successSeconds, undeletableObjects, overdueSeconds, damagedObjects,
		orphanObjects, orphanBytes, orphanSuspects,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (w watch) Collect(ch chan<- prometheus.Metric) {
	t, now := w.m.trouble(), w.m.o.Now()
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	send(lagSeconds, t.lag.Seconds())
	send(overLagSeconds, t.overLag.Seconds())
	for kind, d := range t.failing {
		send(failingSeconds, d.Seconds(), work(kind).String())
	}
	for s := range successCount {
		send(successSeconds, w.m.lastSuccess.age(s, now).Seconds(), s.String())
	}
	send(undeletableObjects, float64(t.undeletable))
	send(overdueSeconds, t.overdue.Seconds())
	send(damagedObjects, float64(t.damaged))
	orphans, _ := w.m.Orphans()
	send(orphanObjects, float64(orphans.Objects))
	send(orphanBytes, float64(orphans.Bytes))
	send(orphanSuspects, float64(orphans.Suspects))
}
