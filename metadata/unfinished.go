package metadata

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// creationGrace is for how long a controller leaves a creation, or an addition of
// partitions, alone that makes no progress.
const creationGrace = time.Minute

// unfinishedPrefix begins the keys of markers. A change that takes several
// transactions writes one first, and its last step removes it: only what a marker
// covers can have broken off.
const unfinishedPrefix = "unfinished/"

func unfinishedKey(id TopicID) string { return unfinishedPrefix + id.String() }

// unfinishedValue is the marker of a topic's creation, or of an addition of
// partitions to it.
type unfinishedValue struct {
	kept
	V     version `json:"v"`
	Topic string  `json:"topic"`
	// First is the number of the first partition that is being written: 0 for a creation.
	First int32 `json:"first"`
	// Broken says that the change goes no further: its partitions can go at once.
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

// sightings are the markers that a controller sees, and since when by its own
// clock: no two machines' clocks are compared.
type sightings map[TopicID]sighting

type sighting struct {
	revision int64
	since    time.Time
}

// abandoned notes the markers of an image and returns, by revision, those that have
// stood as they are for longer than the grace.
func (s sightings) abandoned(image *Image, now time.Time) map[TopicID]int64 {
	maps.DeleteFunc(s, func(id TopicID, seen sighting) bool { return image.unfinished[id].revision != seen.revision })
	old := map[TopicID]int64{}
	for id, u := range image.unfinished {
		seen, known := s[id]
		if !known {
			s[id] = sighting{u.revision, now}
		} else if now.Sub(seen.since) >= creationGrace {
			old[id] = u.revision
		}
	}
	return old
}

// cleanUps remove what creations and additions have left that broke off. An image
// that is incomplete is no reason to: the topic may exist.
func cleanUps(image *Image, o PlanOptions) []Change {
	if image.Incomplete() {
		return nil
	}
	ids := slices.SortedFunc(maps.Keys(image.unfinished), func(a, b TopicID) int { return slices.Compare(a[:], b[:]) })
	var changes []Change
	for _, id := range ids {
		u := image.unfinished[id]
		if !u.Broken && o.Abandoned[id] != u.revision {
			continue
		}
		if t, exists := image.TopicByID(id); exists {
			changes = append(changes, t.cleanUpAddition(u))
		} else {
			changes = append(changes, cleanUpCreation(id, u))
		}
	}
	return changes
}

// cleanUpCreation removes the partitions of a topic that never began to exist. The
// creation's last step removes the marker, so that one of the two fails.
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

// cleanUpAddition removes partition keys that the topic does not count. If they are too
// many for one transaction, the first one marks the addition as broken: it
// fails from then on, and the rest follows.
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
