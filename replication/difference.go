package replication

import (
	"maps"

	"github.com/varvelog/varve/metadata"
)

// difference is what an image has that the applier's partitions do not follow yet.
type difference struct {
	image, before *metadata.Image
	self          int32
	// whole says that all topics have to be looked at: those that are here, and those of the image.
	whole bool
	// topics are those to be looked at otherwise.
	topics map[metadata.TopicID]bool
	// configs are the topics all of whose partitions have to be looked at, on account of their
	// settings or because they were made meanwhile.
	configs       map[metadata.TopicID]bool
	brokerConfigs bool // this broker's settings are others
}

// since is how an image differs from the applier's. Everything is looked at with the first one,
// with other settings of this broker, and while something of the metadata cannot be read: what
// is missing then may be there.
func (a *applier) since(image *metadata.Image) difference {
	d := difference{image: image, before: a.image, self: a.m.o.BrokerID, topics: map[metadata.TopicID]bool{}, configs: a.again}
	d.brokerConfigs = !a.began || !maps.Equal(a.image.BrokerConfigs(a.m.o.BrokerID), image.BrokerConfigs(a.m.o.BrokerID)) ||
		!maps.Equal(a.image.DefaultBrokerConfigs(), image.DefaultBrokerConfigs())
	d.whole = d.brokerConfigs || a.image.Incomplete() || image.Incomplete()
	if d.before == nil {
		return d
	}
	for name := range image.TopicConfigsSince(a.image) {
		if topic, exists := image.TopicByName(name); exists {
			d.configs[topic.ID] = true
		}
	}
	for id := range image.TopicsSince(a.image) {
		d.topics[id] = true
	}
	maps.Copy(d.topics, d.configs)
	return d
}

// followed is a topic as its partitions follow it already, nil if they have to look at all of it.
func (d *difference) followed(topic *metadata.Topic) *metadata.Topic {
	if d.before == nil || d.brokerConfigs || d.configs[topic.ID] {
		return nil
	}
	before, exists := d.before.TopicByID(topic.ID)
	if !exists || d.before.SettingsUnreadable(topic.Name, d.self) != d.image.SettingsUnreadable(topic.Name, d.self) {
		return nil
	}
	return before
}
