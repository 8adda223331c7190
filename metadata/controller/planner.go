package controller

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// planner makes a series of plans. It plans only the partitions whose plan can have changed since
// the image before, and its plan equals Plan's. A partition that needs no change, no question and
// no probe stays so until
//
//   - its state or the settings of its topic change;
//   - a broker or the settings of brokers change: then the planner plans all partitions, which
//     takes about 10 ms for 100,000 of them.
//
// The zero value has seen no image: its first plan covers all partitions. Each term of a controller
// begins with the zero value.
type planner struct {
	image *metadata.Image // that was planned last; nil: none
	// open are the partitions that need a change, a question or a probe, and those that are not
	// well led while there are doubts. Their plans depend on more than the image.
	open map[place]struct{}
}

// place names a partition by its topic's id.
type place struct {
	id     metadata.TopicID
	number int32
}

// candidate is a partition to be planned.
type candidate struct {
	topic  *metadata.Topic
	number int32
}

// next returns the plan of an image.
func (pl *planner) next(image *metadata.Image, o PlanOptions) Planned {
	p := pass{image: image, o: o, planner: pl}
	if pl.wholly(image, o) {
		pl.open = map[place]struct{}{}
		topics := sortedTopics(image)
		if o.Rebalance {
			p.imbalanced = imbalance(image, topics, o)
		}
		for _, t := range topics {
			for number := range t.Partitions {
				p.look(t, int32(number))
			}
		}
	} else {
		for _, c := range pl.candidates(image) {
			p.look(c.topic, c.number)
		}
	}
	pl.image = image
	p.all.Changes = append(p.all.Changes, image.CleanUps(o.Abandoned)...)
	return p.all
}

// wholly reports whether all partitions have to be planned.
func (pl *planner) wholly(image *metadata.Image, o PlanOptions) bool {
	return pl.image == nil || o.Rebalance || image.BrokersSince(pl.image) || image.BrokerConfigsSince(pl.image)
}

// candidates returns the partitions for which something may have changed, by topic name and number.
func (pl *planner) candidates(image *metadata.Image) []candidate {
	var found []candidate
	add := func(t *metadata.Topic, number int32) { found = append(found, candidate{t, number}) }
	for id := range image.TopicsSince(pl.image) {
		if t, exists := image.TopicByID(id); exists {
			before, _ := pl.image.TopicByID(id)
			for number := range t.PartitionsSince(before) {
				add(t, number)
			}
		}
	}
	for name := range image.TopicConfigsSince(pl.image) {
		if t, exists := image.TopicByName(name); exists {
			for number := range t.PartitionsSince(nil) {
				add(t, number)
			}
		}
	}
	for at := range pl.open { // in any order
		t, exists := image.TopicByID(at.id)
		if !exists {
			delete(pl.open, at)
		} else if _, exists = t.Partition(at.number); exists {
			add(t, at.number)
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if a.topic == b.topic {
			return cmp.Compare(a.number, b.number)
		}
		return cmp.Compare(a.topic.Name, b.topic.Name)
	})
	return slices.Compact(found)
}

// pass is the state of one plan in the making.
type pass struct {
	image      *metadata.Image
	o          PlanOptions
	planner    *planner
	imbalanced map[int32]bool
	balanced   int
	topic      *metadata.Topic // the topic of repaired
	repaired   func(number int32, p *metadata.Partition) metadata.Repaired
	all        Planned
}

// look plans one partition. The partitions of a topic must follow each other.
func (w *pass) look(t *metadata.Topic, number int32) {
	p, at := t.Partitions[number], place{t.ID, number}
	delete(w.planner.open, at)
	if p.Revision == 0 {
		return // the key is missing: no revision to compare, no leader to elect
	}
	well := metadata.WellLed(w.image, p)
	if well && w.imbalanced == nil {
		return
	}
	if w.topic != t {
		w.topic, w.repaired = t, w.o.repairs(w.image, t)
	}
	next := w.repaired(number, p)
	w.all.Doubts = append(w.all.Doubts, next.Doubts...)
	if next.Asks != nil {
		w.all.Asks = append(w.all.Asks, metadata.Ask{
			TopicPartition: metadata.TopicPartition{Topic: t.Name, Partition: number}, Replicas: next.Asks,
		})
	}
	if w.balanced < maxBalance && w.imbalanced[next.PreferredLeader()] && next.Rebalance(w.image, p) {
		w.balanced++
	}
	c, needed := next.Change(t, number, p)
	if needed {
		w.all.Changes = append(w.all.Changes, c)
	}
	if needed || next.Asks != nil || len(next.Doubts) > 0 || !well && w.o.Doubt != nil {
		w.planner.open[at] = struct{}{}
	}
}
