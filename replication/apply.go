package replication

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
)

// applier makes the partitions follow the images. It holds what each partition has to become, of
// which a newer image's wish replaces an older one, and has a pool see to that. The goroutine of
// Manager.Run owns the applier and never waits for a partition: what may hang, on a lock, a disk or
// a bucket, is a job of the pool, and what the jobs lead to is done here when they end. So one
// partition that hangs holds up no other.
type applier struct {
	m    *Manager
	pool *pool
	tier tierAttacher // nil: there is no bucket
	// image is the newest. The partitions follow it, or are at work to: what the next one calls for
	// is the difference.
	image *metadata.Image
	// again are topics of which the image does not have what was made meanwhile.
	again         map[metadata.TopicID]bool
	configs       map[metadata.TopicID]*Config // of hosted topics, as of the image; made on demand
	began         bool                         // the first image was applied
	straysSettled bool                         // every log has a partition, or was set aside
	lookAgain     bool                         // the image has to be applied once more

	works   map[metadata.TopicPartition]*work // see work.go; at rest there are none
	known   map[*Partition]*known             // of each until its log is removed
	cares   map[*Partition]*care              // see care.go; at rest there are none
	early   map[*work]int64                   // those that wait for this broker's registration
	retries []retry

	added, changed []*Partition // that publish shows
	ended          []attempt    // that publish settles afterwards
	totals         counted
}

func newApplier(m *Manager) applier {
	return applier{
		m: m, pool: newPool(), tier: m.o.Tier, again: map[metadata.TopicID]bool{}, configs: map[metadata.TopicID]*Config{},
		works: map[metadata.TopicPartition]*work{}, cares: map[*Partition]*care{},
		known: map[*Partition]*known{}, early: map[*work]int64{},
	}
}

// known is what the applier has to know of a partition beside its role.
type known struct {
	told    role.Told // what the listener and the remote tier were told
	counted counted   // what the gauges have
	fate    role.Fate // what becomes of the log once the partition is gone
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

// round is one image's changes. Its time ends with the last of them.
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

// apply has the partitions become what the image says.
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

// follow wants the partitions that are not what the image says to become that.
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

// same reports whether a topic had a partition in this state before; an image that was listed has
// it as another copy.
func same(before *metadata.Topic, number int32, state *metadata.Partition) bool {
	if before == nil {
		return false
	}
	p, ok := before.Partition(number)
	return ok && p.Revision == state.Revision
}

// abandon lets go of partitions that could not be made yet and that the image has here no more. They
// may wait for one of another topic to leave, which stays as long as the image is incomplete.
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

// here reports whether the image has a partition on this broker, or does not know where it is.
func (a *applier) here(image *metadata.Image, id metadata.TopicID, tp metadata.TopicPartition) bool {
	topic, ok := image.TopicByID(id)
	return ok && !a.leftUs(topic, tp.Partition)
}

// retry is something to be tried again. try must do nothing if that is not due any more.
type retry struct {
	due time.Time
	try func()
}

func (a *applier) retry(due time.Time, try func()) { a.retries = append(a.retries, retry{due, try}) }

// earlyInterval is how soon partitions that wait for this broker's registration are looked at
// again.
const earlyInterval = 20 * time.Millisecond

// proceed takes over what the pool has done and does what is due. It returns how long it may take
// until it is called again.
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
