package controller

import (
	"maps"
	"time"

	"github.com/varvelog/varve/metadata"
)

// creationGrace is how long a controller leaves alone a creation, or an addition of partitions,
// that makes no progress.
const creationGrace = time.Minute

// sightings are the markers that a controller sees, and since when by its own clock: clocks of two
// machines are never compared.
type sightings map[metadata.TopicID]sighting

type sighting struct {
	revision int64
	since    time.Time
}

// abandoned records the markers of an image. It returns the revisions of those that have not
// changed for the grace period.
func (s sightings) abandoned(image *metadata.Image, now time.Time) map[metadata.TopicID]int64 {
	markers := image.Unfinished()
	maps.DeleteFunc(s, func(id metadata.TopicID, seen sighting) bool { return markers[id] != seen.revision })
	old := map[metadata.TopicID]int64{}
	for id, revision := range markers {
		seen, known := s[id]
		if !known {
			s[id] = sighting{revision, now}
		} else if now.Sub(seen.since) >= creationGrace {
			old[id] = revision
		}
	}
	return old
}
