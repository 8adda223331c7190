package server

import (
	"context"
	"slices"
	"time"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
)

// offsetsTopic is where group coordinators keep their state.
const offsetsTopic = "__consumer_offsets"

// startGroups makes the group coordinator and has it told of the partitions of
// its topic that this broker leads, and of topics whose offsets nobody needs.
func (s *server) startGroups(ctx context.Context) {
	c := groups.DefaultConfig()
	c.Partitions = s.values.Int32("offsets.topic.num.partitions")
	if t, ok := s.loader.Image().TopicByName(offsetsTopic); ok {
		c.Partitions = int32(len(t.Partitions)) // which group is where was decided when the topic was made
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

// forgetDeletedTopics compares each image with the one before. What is missed
// while a broker is down expires by offsets.retention.minutes.
func (s *server) forgetDeletedTopics(ctx context.Context) error {
	images := s.loader.Subscribe()
	defer images.Close()
	known := map[metadata.TopicID]string{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case image := <-images.Images():
			s.groups.OnTopicsDeleted(deletedTopics(known, image))
		}
	}
}

// deletedTopics brings known up to the image and returns the names of topics
// that are gone, also of those that another topic of the same name replaced. What
// an incomplete image lacks, or a list, need not have been deleted.
func deletedTopics(known map[metadata.TopicID]string, image *metadata.Image) []string {
	if image.Incomplete() {
		return nil
	}
	var gone []string
	for id, name := range known {
		if _, ok := image.TopicByID(id); ok {
			continue
		}
		delete(known, id)
		if !image.Vanished(id) {
			gone = append(gone, name)
		}
	}
	for t := range image.Topics() {
		known[t.ID] = t.Name
	}
	slices.Sort(gone)
	return gone
}
