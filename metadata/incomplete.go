package metadata

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// unreadableKey is a key of the image whose value this broker could not read.
type unreadableKey struct {
	Key      string
	Revision int64 // the one that wrote the value
	Reason   string
}

// Incomplete reports whether the store has a value that this broker could not read, for any reason.
// Images are incomplete until the value is deleted or replaced by a readable one. What is missing
// in an incomplete image may exist: callers must not delete anything because it is missing.
func (m *Image) Incomplete() bool { return len(m.unread) > 0 }

// unreadable returns the keys that make the image incomplete, in ascending order.
func (m *Image) unreadable() []unreadableKey {
	keys := make([]unreadableKey, 0, len(m.unread))
	for _, key := range slices.Sorted(maps.Keys(m.unread)) {
		keys = append(keys, m.unread[key])
	}
	return keys
}

// SettingsUnreadable reports whether settings that apply to a topic on a broker could not be read.
// They may keep records that the defaults would delete.
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

// Vanished reports whether a topic of an earlier image was missing in a later list of the store.
// There was no event of its deletion, and the store may be older than it was. Callers must not
// delete the topic's data for good because of the list.
func (m *Image) Vanished(id TopicID) bool { return m.vanished[id] }

// noteMissing compares an image that was made from a list with the image before: only a list can
// make a topic disappear without an event. It must be called before the image is published.
func (m *Image) noteMissing(before *Image) {
	missing := map[TopicID]bool{}
	for id := range before.vanished {
		missing[id] = true
	}
	for t := range before.Topics() {
		missing[t.ID] = true
	}
	maps.DeleteFunc(missing, func(id TopicID, _ bool) bool {
		_, exists := m.TopicByID(id)
		return exists
	})
	m.vanished = missing
}

// note records whether a key could be read. A deleted key is readable, whatever its name is.
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

// UnreadableNames returns the first ten unreadable keys in one line, and the number of the others.
func (m *Image) UnreadableNames() string {
	const most = 10
	names := slices.Sorted(maps.Keys(m.unread))
	more := len(names) - most
	if more <= 0 {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(more) + " more"
}
