package server

import (
	"context"
	"slices"
	"time"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
)

// offsetsTopic is the topic in which group coordinators keep their state.
const offsetsTopic = "__consumer_offsets"

// startGroups makes the group coordinator. It is notified of the partitions of its topic that this
// broker leads, and of deleted topics, whose offsets it then drops.
func (s *server) startGroups(ctx context.Context) {
	c := groups.DefaultConfig()
	c.Partitions = s.values.Int32("offsets.topic.num.partitions")
	if t, ok := s.loader.Image().TopicByName(offsetsTopic); ok {
		// The partition of a group was decided when the topic was created.
		c.Partitions = int32(len(t.Partitions))
	}
	c.MinSessionTimeout = s.values.Duration("group.min.session.timeout.ms")
	c.MaxSessionTimeout = s.values.Duration("group.max.session.timeout.ms")
	c.InitialRebalanceDelay = s.values.Duration("group.initial.rebalance.delay.ms")
	c.MaxSize = int(s.values.Int64("group.max.size"))
	c.MaxMetadataSize = int(s.values.Int64("offset.metadata.max.bytes"))
	c.OffsetsRetention = time.Duration(s.values.Int64("offsets.retention.minutes")) * time.Minute
	c.RetentionCheckInterval = s.values.Duration("offsets.retention.check.interval.ms")
	s.groups = groups.New(groups.Options{
		Log: topicLog{topic: offsetsTopic, replicas: s.replicas}, Config: c, Now: time.Now, Logger: s.log, Registerer: s.registry,
	})
	alive := s.groups.Ping
	s.ops.alive.Store(&alive)
	s.parts.add("groups", func() error { s.groups.Close(); return nil })
	s.replicas.Listen(offsetsTopic, s.groups)
	s.parts.run(ctx, "offsets of deleted topics", s.forgetDeletedTopics)
}

// forgetDeletedTopics compares each image with the last complete one before it. Topics that are
// deleted while the broker is down are missed: their offsets expire by offsets.retention.minutes.
func (s *server) forgetDeletedTopics(ctx context.Context) error {
	images := s.loader.Subscribe()
	defer images.Close()
	known := <-images.Images()
	for {
		select {
		case <-ctx.Done():
			return nil
		case image := <-images.Images():
			if !image.Incomplete() {
				s.groups.OnTopicsDeleted(deletedTopics(known, image))
				known = image
			}
		}
	}
}

// deletedTopics returns the names of the topics that were deleted since an earlier image, including
// those that another topic of the same name replaced. A topic that is missing in an incomplete
// image or list need not have been deleted.
func deletedTopics(known, image *metadata.Image) []string {
	if image.Incomplete() {
		return nil
	}
	var gone []string
	for id := range image.TopicsSince(known) {
		t, was := known.TopicByID(id)
		if _, is := image.TopicByID(id); was && !is && !image.Vanished(id) {
			gone = append(gone, t.Name)
		}
	}
	slices.Sort(gone)
	return gone
}
