package tiering

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

// descriptions is what the controller knows of the topics in the bucket's catalogue. It reads a
// topic once in its term, and writes it when it changes: an unchanged topic costs no request. The
// zero value knows nothing.
type descriptions struct {
	listed map[metadata.TopicID]int64         // newest revisions as the term began; nil: not read
	known  map[metadata.TopicID]*format.Topic // as read, or as last written
	failed map[metadata.TopicID]*failure
}

// describeTopics brings the catalogue up to date: it describes the topics that have a tier pointer.
// Uploads do not wait for it, so a description follows a moment after the first of them. A topic
// that fails delays no other, and is retried after longer and longer pauses. If the store is
// unreachable the round ends.
func (m *Manager) describeTopics(ctx context.Context, image *metadata.Image) error {
	pairs, _, err := m.pointers(ctx, metadata.TierPrefix)
	if err != nil || image.Incomplete() {
		return err
	}
	d := &m.wide.descriptions
	if d.listed == nil {
		if d.listed, err = catalogue.ListTopics(ctx, m.o.Bucket, m.o.Prefix); err != nil {
			return err
		}
		d.known, d.failed = map[metadata.TopicID]*format.Topic{}, map[metadata.TopicID]*failure{}
	}
	pointed := make(map[metadata.TopicID]bool, len(pairs))
	var failed []error
	for i := range pairs {
		id, _, ok := parseTierKey(pairs[i].Key)
		if !ok || pointed[id] {
			continue
		}
		pointed[id] = true
		want, ok := describedBy(image, m.o.ClusterID, id)
		if f := d.failed[id]; !ok || f != nil && !f.due(m.o.Now()) {
			continue
		}
		err = m.describe(ctx, d, want)
		switch {
		case err == nil:
			delete(d.failed, id)
		case catalogue.Temporary(err) || ctx.Err() != nil:
			return err
		default:
			refuse(ctx, &d.failed, id, err, m.o.Now(), m.newRefusal(m.o.Now()))
			failed = append(failed, fmt.Errorf("describe topic %s: %w", want.Name, err))
		}
	}
	gone := func(id metadata.TopicID) bool { return !pointed[id] }
	maps.DeleteFunc(d.known, func(id metadata.TopicID, _ *format.Topic) bool { return gone(id) })
	maps.DeleteFunc(d.failed, func(id metadata.TopicID, _ *failure) bool { return gone(id) })
	maps.DeleteFunc(d.listed, func(id metadata.TopicID, _ int64) bool { return gone(id) })
	return errors.Join(failed...)
}

// describedBy returns a topic as of an image. It returns false if the image has no such topic.
func describedBy(image *metadata.Image, clusterID string, id metadata.TopicID) (*format.Topic, bool) {
	t, ok := image.TopicByID(id)
	if !ok || len(t.Partitions) == 0 {
		return nil, false
	}
	first := t.Partitions[0]
	return &format.Topic{
		ClusterID: clusterID, TopicID: id, Revision: image.Revision, Name: t.Name, Partitions: int32(len(t.Partitions)),
		ReplicationFactor: int16(len(first.Replicas) - len(first.Adding)), Configs: image.TopicConfigs(t.Name), CreatedMs: t.CreatedMs(),
	}, true
}

// describe writes a topic if the catalogue has another state of it.
func (m *Manager) describe(ctx context.Context, d *descriptions, want *format.Topic) error {
	id := want.TopicID
	have := d.known[id]
	if newest, listed := d.listed[id]; have == nil && listed {
		read, err := catalogue.ReadTopic(ctx, m.o.Bucket, m.o.Prefix, id, newest)
		if err != nil && !errors.Is(err, ErrCorrupt) { // a damaged description is written again
			return err
		}
		if have = read; have == nil {
			have = &format.Topic{Revision: newest}
		}
		d.known[id] = have
	}
	if have == nil {
		have = &format.Topic{}
	}
	if sameTopic(have, want) {
		return nil
	}
	if err := have.Writable(); err != nil {
		return err
	}
	if want.Revision <= have.Revision {
		return fmt.Errorf("the bucket describes it as of revision %d of the metadata, which are at %d", have.Revision, want.Revision)
	}
	next := *have // keeps the members that this build does not know
	next.ClusterID, next.TopicID, next.Revision, next.Name, next.CreatedMs = want.ClusterID, id, want.Revision, want.Name, want.CreatedMs
	next.Partitions, next.ReplicationFactor, next.Configs, next.DeletedMs = want.Partitions, want.ReplicationFactor, want.Configs, 0
	writing, cancel := context.WithTimeout(ctx, 2*m.o.RequestTimeout)
	defer cancel()
	if err := catalogue.WriteTopic(writing, m.o.Bucket, m.o.Prefix, &next); err != nil {
		return err
	}
	d.known[id] = &next
	return nil
}

// sameTopic compares everything but the revision.
func sameTopic(a, b *format.Topic) bool {
	return a.TopicID == b.TopicID && a.ClusterID == b.ClusterID && a.Name == b.Name && a.Partitions == b.Partitions &&
		a.ReplicationFactor == b.ReplicationFactor && a.CreatedMs == b.CreatedMs && a.DeletedMs == b.DeletedMs && maps.Equal(a.Configs, b.Configs)
}
