package metadata

import (
	"iter"
	"maps"
)

// Images share what is the same in them, so that the difference between any two is
// found without looking at the rest. Whoever follows images keeps the one that was
// followed last, however many were published since. One that was made from a list
// shares nothing: to compare such a one is to find everything changed.

// TopicsSince yields the ids of the topics that another image does not have like this
// one: those that came, went, grew or have partitions that changed. It may yield ids
// of which neither image has a topic.
func (m *Image) TopicsSince(before *Image) iter.Seq[TopicID] {
	return m.byID.since(&before.byID, func(a, b *Topic) bool { return a == b })
}

// PartitionsSince yields the numbers of a topic's partitions that an earlier state of
// it, nil for none, does not have like this one.
func (t *Topic) PartitionsSince(before *Topic) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for i, p := range t.Partitions {
			if before != nil && i < len(before.Partitions) && before.Partitions[i] == p {
				continue
			}
			if !yield(int32(i)) {
				return
			}
		}
	}
}

// TopicConfigsSince yields the names of the topics that have other settings of their
// own than in another image.
func (m *Image) TopicConfigsSince(before *Image) iter.Seq[string] {
	return m.topicConfigs.since(&before.topicConfigs, maps.Equal)
}

// BrokersSince reports whether a broker may have come, gone or changed since an
// earlier image.
func (m *Image) BrokersSince(before *Image) bool { return m.brokersAt != before.brokersAt }

// BrokerConfigsSince reports whether settings of brokers may have changed since an
// earlier image.
func (m *Image) BrokerConfigsSince(before *Image) bool {
	return m.brokerConfigsAt != before.brokerConfigsAt
}
