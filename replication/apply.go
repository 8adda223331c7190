package replication

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
)

// applier makes the partitions follow the images. It records what each partition has to become,
// where a newer image replaces the wish of an older one, and hands the work to a pool. The
// goroutine of Manager.Run owns the applier and never waits for a partition. Work that may hang, on
// a lock, a disk or a bucket, is a job of the pool, and its consequences are handled here when it
// ends. So one partition that hangs delays no other.
type applier struct {
	m    *Manager
	pool *pool
	tier tierAttacher // nil without a bucket
	// image is the newest image. The partitions follow it already, or have jobs to do so; for the
	// next image only the difference matters.
	image *metadata.Image
	// again lists topics with a partition that was created too late: the newest image no longer has
	// it here. The next apply looks at all of such a topic.
	again         map[metadata.TopicID]bool
	configs       map[metadata.TopicID]*Config // of hosted topics, under image; filled on demand
	began         bool                         // the first image was applied
	straysSettled bool                         // every log has a partition, or was set aside
	lookAgain     bool                         // the image has to be applied once more

	works map[metadata.TopicPartition]*work // see work.go; empty when all is done
	known map[*Partition]*known             // every partition, until its log is removed
	cares map[*Partition]*care              // see care.go; empty when all is done
	// early lists works that wait for this broker's registration, with the broker epoch that each
	// needs.
	early   map[*work]int64
	retries []retry

	added, changed []*Partition // published by the next publish
	ended          []attempt    // settled by the next publish, after the partitions are visible
	totals         counted
}

func newApplier(m *Manager) applier {
	return applier{
		m: m, pool: newPool(), tier: m.o.Tier, again: map[metadata.TopicID]bool{}, configs: map[metadata.TopicID]*Config{},
		works: map[metadata.TopicPartition]*work{}, cares: map[*Partition]*care{},
		known: map[*Partition]*known{}, early: map[*work]int64{},
	}
}

// known is the applier's own record of a partition, beside its role.
type known struct {
	told    role.Told // what the listener and the remote tier have been notified of
	counted counted   // the partition's share of the gauges
	fate    role.Fate // what happens to the log once the partition is gone
	why     string    // why the log is set aside, if it is
}

func (a *applier) knownOf(p *Partition) *known {
	k := a.known[p]
	if k == nil {
		k = &known{}
		a.known[p] = k
	}
	return k
}

// round counts one image's pending changes and measures the time until the last of them ends.
type round struct {
	start   time.Time
	left    int
	seconds prometheus.Histogram
}

func (r *round) begin() { r.left++ }

func (r *round) end() {
	if r.left--; r.left == 0 {
		r.seconds.Observe(time.Since(r.start).Seconds())
	}
}

// apply starts the changes that turn the partitions into what the image says.
func (a *applier) apply(image *metadata.Image) {
	d := a.since(image)
	a.image, a.lookAgain, a.again = image, false, map[metadata.TopicID]bool{}
	r := &round{start: time.Now(), seconds: a.m.metrics.applySeconds}
	a.delete(a.doomed(d), r)
	if err := a.settleStrays(image); err != nil {
		a.retry(time.Now().Add(retryMin), func() { a.lookAgain = true })
	}
	a.abandon(image)
	a.follow(d, r)
	a.began = true
}

// follow requests changes for the partitions that differ from the image.
func (a *applier) follow(d difference, r *round) {
	if m := a.m; m.o.Rates != nil && d.brokerConfigs {
		m.throttles.setRates(m.o.Rates(d.image))
	}
	if d.whole {
		clear(a.configs)
		for topic := range d.image.Topics() {
			a.followTopic(d, topic, r)
		}
		return
	}
	for id := range d.configs {
		delete(a.configs, id)
	}
	for id := range d.topics {
		if topic, exists := d.image.TopicByID(id); exists {
			a.followTopic(d, topic, r)
		} else {
			delete(a.configs, id)
		}
	}
}

// followTopic is follow for one topic.
func (a *applier) followTopic(d difference, topic *metadata.Topic, r *round) {
	hosted := a.m.index.Load().byID[topic.ID]
	before := d.followed(topic)
	for number := range topic.PartitionsSince(before) {
		state := topic.Partitions[number]
		if state.Revision == 0 || !slices.Contains(state.Replicas, a.m.o.BrokerID) {
			continue
		}
		p, _ := hosted.partition(number)
		tp := metadata.TopicPartition{Topic: topic.Name, Partition: number}
		if same(before, number, state) && (p != nil || a.works[tp].makes(topic.ID)) {
			continue
		}
		a.want(tp, p, &want{image: d.image, topic: topic, config: a.configOf(d.image, topic), round: r})
	}
}

// same reports whether a topic already had a partition in this state. The revisions are compared:
// an image that was built from a full listing holds another copy of the same state.
func same(before *metadata.Topic, number int32, state *metadata.Partition) bool {
	if before == nil {
		return false
	}
	p, ok := before.Partition(number)
	return ok && p.Revision == state.Revision
}

// abandon drops pending creations of partitions that the image no longer has on this broker. Such a
// partition may be waiting for the removal of another topic's partition with its name, which stays
// as long as the image is incomplete.
func (a *applier) abandon(image *metadata.Image) {
	for _, w := range a.works {
		if (w.partition == nil || w.supersedes()) && w.want != nil && !w.running && !a.here(image, w.want.topic.ID, w.tp) {
			a.overtake(w)
			a.m.served.forget(w.want.topic.ID, w.tp.Partition)
			w.want = nil
			a.advance(w)
		}
	}
}

// here reports whether the image has the partition on this broker, or knows the topic but not where
// the partition is.
func (a *applier) here(image *metadata.Image, id metadata.TopicID, tp metadata.TopicPartition) bool {
	topic, ok := image.TopicByID(id)
	return ok && !a.leftUs(topic, tp.Partition)
}

// retry is a deferred attempt. try must do nothing if the attempt is no longer needed.
type retry struct {
	due time.Time
	try func()
}

func (a *applier) retry(due time.Time, try func()) { a.retries = append(a.retries, retry{due, try}) }

// earlyInterval is how often partitions that wait for this broker's registration are checked.
const earlyInterval = 20 * time.Millisecond

// proceed handles the jobs that the pool has finished and does what is due. It returns how long the
// caller may wait before the next call.
func (a *applier) proceed() time.Duration {
	for _, j := range a.pool.take() {
		j.then()
	}
	now, wait := time.Now(), time.Hour
	due := a.retries
	a.retries = nil
	for _, r := range due {
		if left := r.due.Sub(now); left > 0 {
			a.retries = append(a.retries, r)
			wait = min(wait, left)
		} else {
			r.try()
		}
	}
	if len(a.early) > 0 {
		a.lookAtEarly()
		wait = min(wait, earlyInterval)
	}
	a.publish()
	if a.lookAgain {
		a.apply(a.image)
		a.publish()
	}
	if a.pool.relieve(now) {
		wait = min(wait, poolPatience)
	}
	return wait
}
