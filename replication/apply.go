package replication

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
)

// applier makes the partitions follow the images. It holds what each partition has to become, of
// which a newer image's wish replaces an older one, and has a pool see to that. The goroutine of
// Manager.Run owns the applier and never waits for a partition: what may hang, on a lock, a disk or
// a bucket, is a job of the pool, and what the jobs lead to is done here when they end. So one
// partition that hangs holds up no other.
type applier struct {
	m     *Manager
	pool  *pool
	image *metadata.Image // the newest
	// topics are all topics of the last image.
	topics                        map[metadata.TopicID]*appliedTopic
	brokerConfigs, defaultConfigs map[string]string
	began                         bool // the first image was applied: partitions that come now are new
	straysSettled                 bool // every log on the disk is a partition's, or was set aside
	lookAgain                     bool // the image does not have what was made meanwhile

	works   map[metadata.TopicPartition]*work // see work.go; at rest there are none
	cares   map[*Partition]*care              // see care.go; at rest there are none
	early   map[*work]int64                   // those that wait for this broker's registration
	retries []retry

	added, changed []*Partition // that publish shows
	ended          []attempt    // that publish settles afterwards
	totals         counted
}

// appliedTopic is a topic as its partitions last followed it. Images share what did not change, so
// that a topic is the same pointer until something of it does.
type appliedTopic struct {
	topic   *metadata.Topic
	configs map[string]string
	unread  bool // settings of it could not be read
}

// has tells whether the topic was applied with a partition as of a revision.
func (t *appliedTopic) has(number int32, revision int64) bool {
	p, ok := t.topic.Partition(number)
	return ok && p.Revision == revision
}

func newApplier(m *Manager) applier {
	return applier{
		m: m, pool: newPool(), topics: map[metadata.TopicID]*appliedTopic{},
		works: map[metadata.TopicPartition]*work{}, cares: map[*Partition]*care{}, early: map[*work]int64{},
	}
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
	a.image, a.lookAgain = image, false
	r := &round{start: time.Now(), seconds: a.m.metrics.applySeconds}
	a.delete(a.doomed(image), r)
	if err := a.settleStrays(image); err != nil {
		a.retry(time.Now().Add(retryMin), func() { a.lookAgain = true })
	}
	a.forget(image)
	a.abandon(image)
	a.follow(image, r)
	a.began = true
}

// follow wants the partitions that are not what the image says to become that.
func (a *applier) follow(image *metadata.Image, r *round) {
	brokerChanged := !maps.Equal(a.brokerConfigs, image.BrokerConfigs(a.m.o.BrokerID)) ||
		!maps.Equal(a.defaultConfigs, image.DefaultBrokerConfigs())
	if m := a.m; m.o.Rates != nil && (brokerChanged || !a.began) {
		m.throttles.setRates(m.o.Rates(image))
	}
	a.brokerConfigs, a.defaultConfigs = image.BrokerConfigs(a.m.o.BrokerID), image.DefaultBrokerConfigs()
	for topic := range image.Topics() {
		overrides := image.TopicConfigs(topic.Name)
		known := a.topics[topic.ID]
		unread := image.SettingsUnreadable(topic.Name, a.m.o.BrokerID)
		same := known != nil && !brokerChanged && known.unread == unread && maps.Equal(known.configs, overrides)
		if same && known.topic == topic {
			continue
		}
		a.topics[topic.ID] = &appliedTopic{topic: topic, configs: overrides, unread: unread}
		if !same {
			known = nil
		}
		a.followTopic(image, topic, known, r)
	}
}

// followTopic is follow for one topic. known is the topic as its partitions follow it already, nil if
// they have to look at all of it.
func (a *applier) followTopic(image *metadata.Image, topic *metadata.Topic, known *appliedTopic, r *round) {
	config := a.configOf(image, topic.Name)
	hosted := a.m.index.Load().byID[topic.ID]
	for number := range int32(len(topic.Partitions)) {
		state := topic.Partitions[number]
		if state.Revision == 0 || !slices.Contains(state.Replicas, a.m.o.BrokerID) {
			continue
		}
		p, _ := hosted.partition(number)
		tp := metadata.TopicPartition{Topic: topic.Name, Partition: number}
		if known != nil && known.has(number, state.Revision) && (p != nil || a.works[tp].makes(topic.ID)) {
			continue
		}
		a.want(tp, p, &want{image: image, topic: topic, config: &config, round: r})
	}
}

// abandon lets go of partitions that could not be made yet and that the image has here no more.
func (a *applier) abandon(image *metadata.Image) {
	for _, w := range a.works {
		if w.want != nil && !w.running && w.partition == nil && !a.here(image, w.want.topic.ID, w.tp) {
			a.overtake(w)
			a.m.served.forget(w.want.topic.ID, w.tp.Partition)
			w.want = nil
			a.advance(w)
		}
	}
}

// here tells whether the image has a partition on this broker, or does not know where it is.
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

// earlyInterval is how soon partitions that wait for this broker's registration are looked at again.
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
