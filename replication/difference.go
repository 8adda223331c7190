package replication

import (
	"maps"

	"github.com/varvelog/varve/metadata"
)

// difference is the part of an image that the applier's partitions do not follow yet.
type difference struct {
	image, before *metadata.Image
	self          int32
	// whole means that all topics have to be looked at: those that are here, and those of the
	// image.
	whole bool
	// topics are the ones to be looked at if whole is false.
	topics map[metadata.TopicID]bool
	// configs are the topics whose partitions all have to be looked at, because settings have
	// changed or a partition was created too late.
	configs       map[metadata.TopicID]bool
	brokerConfigs bool // this broker's settings have changed
}

// since returns the difference between an image and the applier's. It covers all topics for the
// first image, after a change of this broker's settings, and while a part of the metadata cannot be
// read: what was missing may have appeared.
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

// followed returns the version of a topic that its partitions already follow, nil if all of the
// topic has to be looked at.
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
