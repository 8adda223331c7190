package controller

import (
	"maps"
	"time"

	"github.com/varvelog/varve/metadata"
)

// creationGrace is for how long a controller leaves a creation, or an addition of
// partitions, alone that makes no progress.
const creationGrace = time.Minute

// sightings are the markers that a controller sees, and since when by its own
// clock: no two machines' clocks are compared.
type sightings map[metadata.TopicID]sighting

type sighting struct {
	revision int64
	since    time.Time
}

// abandoned notes the markers of an image and returns, by revision, those that have
// stood as they are for longer than the grace.
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
