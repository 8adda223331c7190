package replication

import (
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
)

// counted is the contribution of one partition, or of all, to the gauges.
type counted struct{ hosted, led, under int }

// publish makes the changes visible to clients, notifies the listeners, and moves the fetchers to
// the present leaders.
func (a *applier) publish() {
	added, changed, ended := a.added, a.changed, a.ended
	a.added, a.changed, a.ended = nil, nil, nil
	if len(added) > 0 {
		next := a.m.index.Load().edit()
		for _, p := range added {
			next.add(p)
		}
		a.m.index.Store(&next.index)
	}
	for _, p := range changed {
		a.tell(p)
		a.count(p, countedAs(p))
		a.look(p)
	}
	a.m.fetchers.assign(a.image, changed)
	for _, t := range ended {
		a.became(t)
	}
	pending := len(a.works) + len(a.cares)
	a.m.metrics.pending.Set(float64(pending))
	a.m.metrics.partitions.Set(float64(a.totals.hosted))
	a.m.metrics.leaders.Set(float64(a.totals.led))
	a.m.metrics.underReplicated.Set(float64(a.totals.under))
	if a.image != nil {
		a.m.metrics.unserved.Set(float64(a.m.served.publish(a.image.ContentRevision, pending)))
	}
}

// tell notifies the topic's listener, if it does not know the partition's role yet.
func (a *applier) tell(p *Partition) {
	l := a.m.listeners[p.tp.Topic]
	if l == nil {
		return
	}
	r, k := p.role.Load(), a.knownOf(p)
	var news role.News
	switch k.told, news = k.told.Announce(r); news {
	case role.Elected:
		l.OnElected(p.tp.Partition, r.LeaderEpoch)
	case role.Resigned:
		l.OnResigned(p.tp.Partition)
	case role.NoNews:
	}
}

// countedAs returns a partition's contribution to the gauges.
func countedAs(p *Partition) counted {
	c, r := counted{hosted: 1}, p.role.Load()
	if r.Leads() {
		c.led = 1
		if len(r.ISR) < len(r.Replicas) {
			c.under = 1
		}
	}
	return c
}

// count replaces a partition's contribution to the totals.
func (a *applier) count(p *Partition, now counted) {
	t, k := &a.totals, a.knownOf(p)
	t.hosted += now.hosted - k.counted.hosted
	t.led += now.led - k.counted.led
	t.under += now.under - k.counted.under
	k.counted = now
}

func (m *Manager) newPartition(tp metadata.TopicPartition, id metadata.TopicID, log *storage.Log) *Partition {
	p := &Partition{
		tp: tp, topicID: id, log: log, tier: m.o.Tier, brokerID: m.o.BrokerID, clock: m.o.Now, throttles: m.throttles,
		traffic: m.traffic.of(tp.Topic, id), metrics: m.metrics, logger: m.o.Logger,
	}
	p.isr = m.isr
	if m.o.Cluster != nil {
		p.image = m.o.Cluster.Image
	}
	opened, _ := role.Step(role.State{}, role.LogOpened{})
	p.role.Store(&opened)
	log.OnFlush(p.flushed)
	log.OnStartCheckpointed(p.startCheckpointed)
	return p
}
