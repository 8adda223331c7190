package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// applyParallel is how many partitions are created or deleted at a time.
const applyParallel = 16

// applier makes the partitions follow the images. One goroutine, Manager.Run, owns it.
type applier struct {
	m *Manager
	// topics are all topics of the last image.
	topics                        map[metadata.TopicID]*appliedTopic
	brokerConfigs, defaultConfigs map[string]string
	began                         bool // the first image was applied: partitions that come now are new
	straysSettled                 bool // every log on the disk is a partition's, or was set aside
}

// appliedTopic is a topic as its partitions last followed it. Images share what did not change, so that a topic is the same pointer until
// something of it does.
type appliedTopic struct {
	topic   *metadata.Topic
	configs map[string]string
	unread  bool // settings of it could not be read
	settled bool // all partitions are what the topic says
}

// has tells whether the topic was applied with a partition as of a revision.
func (t *appliedTopic) has(number int32, revision int64) bool {
	p, ok := t.topic.Partition(number)
	return ok && p.Revision == revision
}

func newApplier(m *Manager) applier {
	return applier{m: m, topics: map[metadata.TopicID]*appliedTopic{}}
}

// change is one partition that must become what the image says.
type change struct {
	topic     *metadata.Topic
	number    int32
	partition *Partition // nil: to be created
	config    *Config
	err       error
}

// apply makes the partitions what the image says, as far as it can, and tells which topics lack something.
func (a *applier) apply(ctx context.Context, image *metadata.Image) map[metadata.TopicID]error {
	start := time.Now()
	doomed := a.doomed(image)
	failed := a.delete(ctx, doomed)
	if err := a.settleStrays(ctx, image); err != nil {
		failed[metadata.TopicID{}] = err // no topic's: the image is looked at again
	}
	a.forget(image)
	changes := a.changes(image)
	defer func() { a.began = true }()
	if len(doomed) == 0 && len(changes) == 0 {
		return failed
	}
	a.execute(ctx, image, changes)
	a.publish(image, changes)
	for _, c := range changes {
		a.settle(c, failed)
	}
	a.m.metrics.applySeconds.Observe(time.Since(start).Seconds())
	a.count()
	return failed
}

// settle notes how a change went, so that a topic that lacks something is looked at again.
func (a *applier) settle(c *change, failed map[metadata.TopicID]error) {
	if c.err == nil {
		return
	}
	a.topics[c.topic.ID].settled = false
	if errors.Is(c.err, errNotElected) {
		return // the next image decides
	}
	failed[c.topic.ID] = errors.Join(failed[c.topic.ID], c.err)
}

// changes lists the partitions that are not what the image says.
func (a *applier) changes(image *metadata.Image) []*change {
	brokerChanged := !maps.Equal(a.brokerConfigs, image.BrokerConfigs(a.m.o.BrokerID)) ||
		!maps.Equal(a.defaultConfigs, image.DefaultBrokerConfigs())
	if m := a.m; m.o.Rates != nil && (brokerChanged || !a.began) {
		m.throttles.setRates(m.o.Rates(image))
	}
	a.brokerConfigs, a.defaultConfigs = image.BrokerConfigs(a.m.o.BrokerID), image.DefaultBrokerConfigs()
	hosted := a.m.index.Load()
	var changes []*change
	for topic := range image.Topics() {
		overrides := image.TopicConfigs(topic.Name)
		t := a.topics[topic.ID]
		unread := image.SettingsUnreadable(topic.Name, a.m.o.BrokerID)
		same := t != nil && t.settled && !brokerChanged && t.unread == unread && maps.Equal(t.configs, overrides)
		if same && t.topic == topic {
			continue
		}
		a.topics[topic.ID] = &appliedTopic{topic: topic, configs: overrides, unread: unread, settled: true} // settle takes that back if something fails
		config := a.configOf(image, topic.Name)
		for number := range int32(len(topic.Partitions)) {
			if state := &topic.Partitions[number]; state.Revision == 0 || !slices.Contains(state.Replicas, a.m.o.BrokerID) {
				continue
			}
			c := &change{topic: topic, number: number, config: &config}
			c.partition, _ = hosted.byID[topic.ID].partition(number)
			if same && c.partition != nil && t.has(number, topic.Partitions[number].Revision) {
				continue
			}
			changes = append(changes, c)
		}
	}
	return changes
}

// execute carries the changes out, many at a time.
func (a *applier) execute(ctx context.Context, image *metadata.Image, changes []*change) {
	var g errgroup.Group
	g.SetLimit(applyParallel)
	for _, c := range changes {
		g.Go(func() error {
			c.err = a.one(image, c)
			if c.err != nil && !errors.Is(c.err, errNotElected) {
				a.m.o.Logger.LogAttrs(ctx, slog.LevelError, "partition cannot be served, trying again soon",
					slog.String("topic", c.topic.Name), slog.Int("partition", int(c.number)), slog.Any("error", c.err))
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in the changes
}

// errNotElected says that the image does not say who leads, or names this broker as it was before it restarted.
var errNotElected = errors.New("no leader is elected yet")

// one makes one partition what the image says.
func (a *applier) one(image *metadata.Image, c *change) error {
	tp := metadata.TopicPartition{Topic: c.topic.Name, Partition: c.number}
	if c.partition == nil {
		create := a.m.o.Storage.Create
		if !a.began {
			create = a.m.o.Storage.Reopen
		}
		log, err := create(tp.Topic, tp.Partition, c.topic.ID)
		if err != nil {
			return fmt.Errorf("create log of %s: %w", tp, err)
		}
		c.partition = a.m.newPartition(tp, c.topic.ID, log)
	}
	p := c.partition
	p.configure(c.config)
	state := &c.topic.Partitions[c.number]
	was := p.role.Load()
	leader, elected := image.Leader(state)
	switch {
	case elected && leader.ID == a.m.o.BrokerID, was.leader && state.Leader == a.m.o.BrokerID && was.epoch == state.LeaderEpoch:
		// The second case: this broker's registration has lapsed. Until somebody else is elected it leads on, see the design's I6.
		if err := p.lead(roleOf(state)); err != nil {
			return err
		}
		a.attach(p, was)
		return nil
	}
	p.resign(roleOf(state))
	a.attach(p, was)
	if !elected {
		return fmt.Errorf("%s: %w", tp, errNotElected)
	}
	return nil
}

// attach hands the log to the remote tier, again at every new epoch: to be uploaded by the leader, to be read on a follower.
func (a *applier) attach(p *Partition, was *role) {
	r := p.role.Load()
	switch {
	case p.tier == nil, p.log.Offline() != nil:
		return
	case p.attached && was.leader == r.leader && was.epoch == r.epoch:
		return
	case !p.attached && !p.config.Load().Log.RemoteStorageEnable && p.log.StartOffset() == p.log.LocalStartOffset():
		return // the topic has no remote tier, and had none
	}
	partition := tiering.Partition{
		TopicID: p.topicID, TopicPartition: p.tp, LeaderEpoch: r.epoch, Log: p.log,
		Config: func() storage.Config { return p.config.Load().Log }, Stats: &p.traffic.Remote, CommittedEnd: p.tierEnd.Store,
	}
	if r.leader {
		p.tier.Attach(partition)
	} else {
		p.tier.Follow(partition)
	}
	p.attached = true
}

// publish shows clients what has changed, tells the listeners, and has the fetchers follow whoever leads now.
func (a *applier) publish(image *metadata.Image, changes []*change) {
	next := a.m.index.Load().edit()
	for _, c := range changes {
		if c.partition != nil {
			next.add(c.partition)
		}
	}
	a.m.index.Store(&next.index)
	a.m.traffic.keep(next.byID)
	for _, c := range changes {
		if c.partition != nil {
			a.tell(c.partition)
		}
	}
	a.m.fetchers.assign(image, changes)
}

// tell informs the topic's listener, if the partition has a role that it was not told of.
func (a *applier) tell(p *Partition) {
	l := a.m.listeners[p.tp.Topic]
	if l == nil {
		return
	}
	switch r := p.role.Load(); {
	case r.leader && (!p.told.leader || p.told.epoch != r.epoch):
		l.OnElected(p.tp.Partition, r.epoch)
		p.told = *r
	case !r.leader && p.told.leader:
		l.OnResigned(p.tp.Partition)
		p.told = *r
	}
}

func (a *applier) count() {
	hosted, led, under := 0, 0, 0
	for p := range a.m.Partitions() {
		hosted++
		r := p.role.Load()
		if !r.leader {
			continue
		}
		led++
		if len(r.isr) < len(r.replicas) {
			under++
		}
	}
	a.m.metrics.underReplicated.Set(float64(under))
	a.m.metrics.partitions.Set(float64(hosted))
	a.m.metrics.leaders.Set(float64(led))
}

func (m *Manager) newPartition(tp metadata.TopicPartition, id metadata.TopicID, log *storage.Log) *Partition {
	p := &Partition{tp: tp, topicID: id, log: log, brokerID: m.o.BrokerID, metrics: m.metrics, tier: m.o.Tier, isr: m.isr, logger: m.o.Logger, throttles: m.throttles, traffic: m.traffic.of(tp.Topic, id)}
	if m.o.Cluster != nil {
		p.image = m.o.Cluster.Image
	}
	p.role.Store(&role{epoch: -1, leaderID: metadata.NoBroker})
	log.OnFlush(p.flushed)
	return p
}
