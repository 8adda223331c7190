package metadata

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// maxPartitions bounds the partitions of one topic, and with them the memory that a stray key can
// make the image allocate.
const maxPartitions = 100_000

// Apply returns the image that follows from a batch of events, for callers without a Loader. If a
// value cannot be read, the image shows its key as before and is Incomplete; the error names the
// key.
func (m *Image) Apply(batch kv.Batch) (*Image, error) { return m.apply(batch) }

// apply makes the image that follows from a batch of events. It copies what the batch changes
// and shares the rest. If a value cannot be read, the image shows its key as before and is
// Incomplete; the error names the key.
func (m *Image) apply(batch kv.Batch) (*Image, error) {
	next := *m
	next.Revision = max(m.Revision, batch.Revision)
	b := imageBuilder{image: &next, owner: new(owner), topics: map[TopicID]*Topic{}}
	var errs []error
	for _, e := range batch.Events {
		err := b.apply(e)
		b.note(e, err)
		if err != nil && !e.Deleted {
			errs = append(errs, err)
		}
	}
	b.finish()
	if b.touched {
		next.ContentRevision = next.Revision
	}
	return &next, errors.Join(errs...)
}

// imageBuilder records which parts of the next image are copies already and so may be written to.
// Everything else is shared with the image before.
type imageBuilder struct {
	image              *Image
	touched            bool   // the batch changes what the image shows
	owner              *owner // of the table shards that this batch has copied
	brokers, known     bool
	brokerConfigs      bool
	unread, unfinished bool
	topics             map[TopicID]*Topic // copied: each has its own struct and slice
}

func (b *imageBuilder) apply(e kv.Event) error {
	before := b.touched
	b.touched = true
	switch {
	case strings.HasPrefix(e.Key, partitionsPrefix):
		return b.partition(e, e.Key[len(partitionsPrefix):])
	case strings.HasPrefix(e.Key, topicsPrefix):
		return b.topic(e, e.Key[len(topicsPrefix):])
	case strings.HasPrefix(e.Key, brokersPrefix):
		b.image.brokersAt = b.image.Revision
		return applyBroker(e, e.Key[len(brokersPrefix):], &b.image.Brokers, &b.brokers, decodeBroker)
	case strings.HasPrefix(e.Key, knownPrefix):
		return applyBroker(e, e.Key[len(knownPrefix):], &b.image.Known, &b.known, decodeKnown)
	case strings.HasPrefix(e.Key, topicConfigsPrefix):
		return b.topicConfig(e, e.Key[len(topicConfigsPrefix):])
	case strings.HasPrefix(e.Key, brokerConfigsPrefix):
		return b.brokerConfig(e, e.Key[len(brokerConfigsPrefix):])
	case strings.HasPrefix(e.Key, unfinishedPrefix):
		return b.marker(e, e.Key[len(unfinishedPrefix):])
	case e.Key == controllerKey:
		return b.controller(e)
	case e.Key == clusterIDKey:
		return b.clusterID(e)
	case e.Key == featuresKey:
		return b.features(e)
	default: // not part of the image: tier/…, producer-ids, or keys of a later version
		b.touched = before
		return nil
	}
}

// topic applies an event of a topic's key. If another topic had the name, that one is pending from
// now on.
func (b *imageBuilder) topic(e kv.Event, name string) error {
	if e.Deleted {
		b.detach(name)
		return nil
	}
	v, err := decode[topicValue](e.Pair)
	if err != nil {
		return err
	}
	if v.Partitions < 0 || v.Partitions > maxPartitions {
		return fmt.Errorf("decode %s at revision %d: it names %d partitions", e.Key, e.ModRevision, v.Partitions)
	}
	if old, ok := b.image.byName.get(name); ok && old.ID != v.ID {
		b.detach(name)
	}
	t := b.writable(v.ID)
	t.Name, t.count, t.createdMs, t.kept = name, v.Partitions, v.CreatedMs, v.kept
	t.Epoch, t.Revision = e.CreateRevision, e.ModRevision
	b.image.byName.set(b.owner, name, t)
	return nil
}

// detach removes the name of a topic. The topic is pending until its partition keys are gone.
func (b *imageBuilder) detach(name string) {
	old, ok := b.image.byName.get(name)
	if !ok {
		return
	}
	t := b.writable(old.ID)
	b.image.byName.remove(b.owner, name)
	t.Name, t.count, t.createdMs, t.Epoch, t.Revision, t.kept = "", 0, 0, 0, 0, kept{}
}

func (b *imageBuilder) partition(e kv.Event, rest string) error {
	id, number, ok := parsePartitionKey(rest)
	if !ok || number >= maxPartitions {
		return fmt.Errorf("read key %q at revision %d: it names no partition", e.Key, e.ModRevision)
	}
	p := noPartition
	if !e.Deleted {
		read, err := decodePartition(e.Pair)
		if err != nil {
			return err
		}
		p = &read
	}
	t := b.writable(id)
	t.grow(int(number) + 1)
	if t.all[number].Revision != 0 {
		t.present--
	}
	if p.Revision != 0 {
		t.present++
	}
	t.all[number] = p
	return nil
}

func applyBroker(e kv.Event, rest string, all *map[int32]Broker, owned *bool, decode func(int32, kv.Pair) (Broker, error)) error {
	id, ok := parseNumber(rest)
	if !ok {
		return fmt.Errorf("read key %q at revision %d: it names no broker", e.Key, e.ModRevision)
	}
	if e.Deleted {
		own(all, owned)
		delete(*all, id)
		return nil
	}
	broker, err := decode(id, e.Pair)
	if err != nil {
		return err
	}
	own(all, owned)
	(*all)[id] = broker
	return nil
}

func (b *imageBuilder) controller(e kv.Event) error {
	if e.Deleted {
		b.image.ControllerID, b.image.ControllerEpoch, b.image.ControllerBrokerEpoch = NoBroker, 0, 0
		return nil
	}
	v, err := decode[controllerValue](e.Pair)
	if err != nil {
		return err
	}
	b.image.ControllerID, b.image.ControllerEpoch, b.image.ControllerBrokerEpoch = v.Broker, e.CreateRevision, v.BrokerEpoch
	return nil
}

func (b *imageBuilder) clusterID(e kv.Event) error {
	if e.Deleted {
		return nil // a cluster never loses its id
	}
	v, err := decode[clusterIDValue](e.Pair)
	if err != nil {
		return err
	}
	b.image.ClusterID = v.ID
	return nil
}

// configsOf returns the settings after an event, nil if there are none.
func configsOf(e kv.Event) (map[string]string, error) {
	if e.Deleted {
		return nil, nil
	}
	v, err := decode[configsValue](e.Pair)
	if err != nil || len(v.Configs) == 0 {
		return nil, err
	}
	return v.Configs, nil
}

func (b *imageBuilder) topicConfig(e kv.Event, name string) error {
	configs, err := configsOf(e)
	switch {
	case err != nil:
		return err
	case configs == nil:
		b.image.topicConfigs.remove(b.owner, name)
	default:
		b.image.topicConfigs.set(b.owner, name, configs)
	}
	return nil
}

func (b *imageBuilder) brokerConfig(e kv.Event, name string) error {
	configs, err := configsOf(e)
	if err != nil {
		return err
	}
	own(&b.image.brokerConfigs, &b.brokerConfigs)
	b.image.brokerConfigsAt = b.image.Revision
	if configs == nil {
		delete(b.image.brokerConfigs, name)
	} else {
		b.image.brokerConfigs[name] = configs
	}
	return nil
}

// writable returns this batch's own copy of the topic, which is pending if it is new.
func (b *imageBuilder) writable(id TopicID) *Topic {
	if t, ok := b.topics[id]; ok {
		return t
	}
	t := &Topic{ID: id}
	if old, ok := b.image.byID.get(id); ok {
		*t = *old
		t.all = slices.Clone(old.all)
	}
	b.topics[id] = t
	b.image.byID.set(b.owner, id, t)
	if !t.pending() {
		b.image.byName.set(b.owner, t.Name, t)
	}
	return t
}

// finish sets the visible partitions of all topics that the batch has changed, and removes pending
// topics without partition keys.
func (b *imageBuilder) finish() {
	for id, t := range b.topics { // in any order
		if t.pending() && t.present == 0 {
			b.image.byID.remove(b.owner, id)
			continue
		}
		t.grow(int(t.count))
		t.Partitions = t.all[:t.count:t.count]
	}
}

// noPartition is the state of a partition whose key is missing.
var noPartition = &Partition{Leader: NoBroker}

// grow makes room for n partitions. New ones are missing until their keys arrive.
func (t *Topic) grow(n int) {
	for len(t.all) < n {
		t.all = append(t.all, noPartition)
	}
}

// own replaces a map by a copy unless this batch has done so already.
func own[K comparable, V any](m *map[K]V, owned *bool) {
	if !*owned {
		*m = maps.Clone(*m)
		*owned = true
	}
}
