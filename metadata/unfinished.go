package metadata

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// unfinishedPrefix is the prefix of markers. A change that takes several transactions writes its
// marker first, and its last transaction removes the marker. So only a change with a marker can
// have broken off.
const unfinishedPrefix = "unfinished/"

func unfinishedKey(id TopicID) string { return unfinishedPrefix + id.String() }

// unfinishedValue is the marker of a topic's creation, or of an addition of partitions to it.
type unfinishedValue struct {
	kept
	V     version `json:"v"`
	Topic string  `json:"topic"`
	// First is the number of the first partition that is being written: 0 for a creation.
	First int32 `json:"first"`
	// Broken is set when the change has given up: its partition keys can be removed at once.
	Broken bool `json:"broken,omitempty"`
}

// unfinished is a marker as the image has it.
type unfinished struct {
	unfinishedValue
	revision int64
}

func (v unfinishedValue) write(id TopicID) kv.Op { return kv.Put(unfinishedKey(id), encode(v)) }

func (b *imageBuilder) marker(e kv.Event, rest string) error {
	id, err := ParseTopicID(rest)
	if err != nil {
		return err
	}
	if e.Deleted {
		own(&b.image.unfinished, &b.unfinished)
		delete(b.image.unfinished, id)
		return nil
	}
	v, err := decode[unfinishedValue](e.Pair)
	if err != nil {
		return err
	}
	own(&b.image.unfinished, &b.unfinished)
	b.image.unfinished[id] = unfinished{unfinishedValue: v, revision: e.ModRevision}
	return nil
}

// Unfinished returns the revisions of the markers of changes in progress, by topic.
func (m *Image) Unfinished() map[TopicID]int64 {
	revisions := make(map[TopicID]int64, len(m.unfinished))
	for id, u := range m.unfinished {
		revisions[id] = u.revision
	}
	return revisions
}

// CleanUps returns the changes that remove what broken creations and additions have left. A change
// is broken if its marker says so, or if abandoned names the marker's revision. For an incomplete
// image it returns none, because the topic may exist.
func (m *Image) CleanUps(abandoned map[TopicID]int64) []Change {
	if m.Incomplete() {
		return nil
	}
	ids := slices.SortedFunc(maps.Keys(m.unfinished), func(a, b TopicID) int { return slices.Compare(a[:], b[:]) })
	var changes []Change
	for _, id := range ids {
		u := m.unfinished[id]
		if !u.Broken && abandoned[id] != u.revision {
			continue
		}
		if t, exists := m.TopicByID(id); exists {
			changes = append(changes, t.cleanUpAddition(u))
		} else {
			changes = append(changes, cleanUpCreation(id, u))
		}
	}
	return changes
}

// cleanUpCreation removes the partition keys of a topic that never began to exist. It compares the
// marker, which the creation's last transaction removes: only one of the two succeeds. If the
// marker is that of an addition, only the marker is removed.
func cleanUpCreation(id TopicID, u unfinished) Change {
	c := Change{
		Reason: "the topic's creation broke off",
		Guards: []kv.Comparison{kv.ModifiedAt(unfinishedKey(id), u.revision)},
		Ops:    []kv.Op{kv.Delete(unfinishedKey(id))},
	}
	if u.First == 0 {
		c.Ops = append(c.Ops, kv.DeletePrefix(partitionsPrefix+id.String()+"/"))
	}
	return c
}

// cleanUpAddition removes the partition keys beyond the topic's number of partitions. If these do
// not fit into one transaction, the first one also marks the addition as broken. The addition then
// fails, and later plans remove the other keys.
func (t *Topic) cleanUpAddition(u unfinished) Change {
	marker := unfinishedKey(t.ID)
	c := Change{
		Reason: "an addition of partitions broke off",
		Guards: []kv.Comparison{kv.ModifiedAt(marker, u.revision), kv.ModifiedAt(topicKey(t.Name), t.Revision)},
	}
	whole := true
	for i, p := range t.all[len(t.Partitions):] {
		if p.Revision == 0 {
			continue
		}
		if len(c.Ops) == kv.MaxTxnOps-1 {
			whole = false
			break
		}
		c.Ops = append(c.Ops, kv.Delete(partitionKey(t.ID, int32(len(t.Partitions)+i))))
	}
	if whole {
		c.Ops = append(c.Ops, kv.Delete(marker))
		return c
	}
	u.Broken = true
	c.Ops = append(c.Ops, u.write(t.ID))
	return c
}
