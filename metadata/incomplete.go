package metadata

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// unreadableKey is a key of the image that this broker could not read.
type unreadableKey struct {
	Key      string
	Revision int64 // that wrote the value
	Reason   string
}

// Incomplete says that the store has a value which this broker could not read,
// for whatever reason. From the list or event that showed the value, all images
// are incomplete until the key is read or deleted. What such an image lacks may
// exist: nothing may be deleted because it is not there.
func (m *Image) Incomplete() bool { return len(m.unread) > 0 }

// unreadable are the keys that make the image incomplete, in ascending order.
func (m *Image) unreadable() []unreadableKey {
	keys := make([]unreadableKey, 0, len(m.unread))
	for _, key := range slices.Sorted(maps.Keys(m.unread)) {
		keys = append(keys, m.unread[key])
	}
	return keys
}

// SettingsUnreadable says that settings which hold for a topic on a broker could
// not be read: the topic may be meant to keep what the defaults would delete.
func (m *Image) SettingsUnreadable(topic string, broker int32) bool {
	if !m.Incomplete() {
		return false
	}
	for _, key := range []string{topicConfigsPrefix + topic, brokerConfigsPrefix + strconv.Itoa(int(broker)), brokerConfigsPrefix + defaultBroker} {
		if _, bad := m.unread[key]; bad {
			return true
		}
	}
	return false
}

// Vanished says that a topic of an earlier image was missing when the store was
// listed again: no event has said that it was deleted. The store may have been
// set back, so that the list alone is no reason to delete anything for good.
func (m *Image) Vanished(id TopicID) bool { return m.vanished[id] }

// noteMissing compares an image that was made from a list with the one before,
// which is the only moment at which a topic can go without an event. It must be
// called before the image is published.
func (m *Image) noteMissing(before *Image) {
	missing := map[TopicID]bool{}
	for id := range before.vanished {
		missing[id] = true
	}
	for _, t := range before.byName {
		missing[t.ID] = true
	}
	maps.DeleteFunc(missing, func(id TopicID, _ bool) bool {
		_, exists := m.TopicByID(id)
		return exists
	})
	m.vanished = missing
}

// note keeps whether a key could be read. A key that is gone hides nothing.
func (b *imageBuilder) note(e kv.Event, err error) {
	_, bad := b.image.unread[e.Key]
	switch {
	case err != nil && !e.Deleted:
		own(&b.image.unread, &b.unread)
		b.image.unread[e.Key] = unreadableKey{Key: e.Key, Revision: e.ModRevision, Reason: err.Error()}
	case bad:
		own(&b.image.unread, &b.unread)
		delete(b.image.unread, e.Key)
	}
}

// UnreadableNames names the unreadable keys in a line, with no more than a few of many.
func (m *Image) UnreadableNames() string {
	const most = 10
	names := slices.Sorted(maps.Keys(m.unread))
	more := len(names) - most
	if more <= 0 {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(more) + " more"
}
