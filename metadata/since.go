package metadata

import (
	"iter"
	"maps"
)

// Images share their equal parts, and the difference between two images is found without reading
// those. A reader keeps the image that it has handled last and compares the newest one with it; the
// number of images in between does not matter. An image that was made from a list shares nothing
// with the one before: all of it counts as changed.

// TopicsSince yields the ids of the topics that differ between an earlier image and this one: those
// that were created or deleted, have grown, or have changed partitions. It may yield ids that
// belong to a topic in neither image.
func (m *Image) TopicsSince(before *Image) iter.Seq[TopicID] {
	return m.byID.since(&before.byID, func(a, b *Topic) bool { return a == b })
}

// PartitionsSince yields the numbers of the partitions that are new or have changed since an
// earlier state of the topic. If before is nil it yields all of them.
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

// TopicConfigsSince yields the names of the topics whose own settings differ between an earlier
// image and this one.
func (m *Image) TopicConfigsSince(before *Image) iter.Seq[string] {
	return m.topicConfigs.since(&before.topicConfigs, maps.Equal)
}

// BrokersSince reports whether a broker may have been added, removed or changed since an earlier
// image.
func (m *Image) BrokersSince(before *Image) bool { return m.brokersAt != before.brokersAt }

// BrokerConfigsSince reports whether settings of brokers may have changed since an earlier image.
func (m *Image) BrokerConfigsSince(before *Image) bool {
	return m.brokerConfigsAt != before.brokerConfigsAt
}
