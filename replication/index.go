package replication

import (
	"maps"
	"slices"

	"github.com/varvelog/varve/metadata"
)

// index holds the partitions that this broker hosts. It is immutable: the manager publishes a new
// one for each change.
type index struct {
	byName map[string]*hostedTopic
	byID   map[metadata.TopicID]*hostedTopic
}

// hostedTopic holds the partitions of one topic that have a replica here, by number; nil entries
// have none.
type hostedTopic struct {
	name       string
	id         metadata.TopicID
	partitions []*Partition
}

func (t *hostedTopic) partition(number int32) (*Partition, bool) {
	if t == nil || number < 0 || int(number) >= len(t.partitions) || t.partitions[number] == nil {
		return nil, false
	}
	return t.partitions[number], true
}

// indexBuilder builds the next index. It copies only what changes.
type indexBuilder struct {
	index
	owned map[metadata.TopicID]bool
}

func (x *index) edit() *indexBuilder {
	return &indexBuilder{
		index: index{byName: maps.Clone(x.byName), byID: maps.Clone(x.byID)},
		owned: map[metadata.TopicID]bool{},
	}
}

func (b *indexBuilder) topic(name string, id metadata.TopicID) *hostedTopic {
	t := b.byID[id]
	if t == nil {
		t = &hostedTopic{name: name, id: id}
	} else if !b.owned[id] {
		t = &hostedTopic{name: name, id: id, partitions: slices.Clone(t.partitions)}
	}
	b.owned[id] = true
	if old := b.byName[name]; old == nil || old.id == id {
		b.byName[name] = t
	}
	b.byID[id] = t
	return t
}

func (b *indexBuilder) add(p *Partition) {
	t := b.topic(p.tp.Topic, p.topicID)
	b.byName[t.name] = t // now the name's topic; an older topic of that name is being removed
	for len(t.partitions) <= int(p.tp.Partition) {
		t.partitions = append(t.partitions, nil)
	}
	t.partitions[p.tp.Partition] = p
}

func (b *indexBuilder) remove(p *Partition) {
	t := b.topic(p.tp.Topic, p.topicID)
	t.partitions[p.tp.Partition] = nil
	if slices.ContainsFunc(t.partitions, func(p *Partition) bool { return p != nil }) {
		return
	}
	delete(b.byID, t.id)
	if b.byName[t.name] == t {
		delete(b.byName, t.name)
	}
}
