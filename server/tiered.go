package server

import (
	"log/slog"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/notify"
)

// tellTiered publishes a hint to all brokers that a partition's history in the object store has
// grown.
func (s *server) tellTiered(id metadata.TopicID, partition int32, endOffset int64) {
	notify.Publish(s.bus, notify.SegmentTiered{TopicID: id.String(), Partition: partition, EndOffset: endOffset})
}

// followTiered runs local retention on a partition as soon as a hint says that the object store has
// more of it. Without hints retention runs every log.retention.check.interval.ms. In both cases it
// deletes by the log's own record of committed uploads, never by the hint.
func (s *server) followTiered() error {
	stop, err := notify.Subscribe(s.bus, func(hint notify.SegmentTiered) {
		id, err := metadata.ParseTopicID(hint.TopicID)
		if err != nil {
			return
		}
		p, ok := s.replicas.PartitionByID(id, hint.Partition)
		if !ok {
			return
		}
		if _, err = p.Log().EnforceRetention(time.Now()); err != nil {
			s.log.Warn("enforce retention after an upload", slog.Any("error", err))
		}
	})
	if err != nil {
		return err
	}
	s.parts.add("tiered hints", func() error { stop(); return nil })
	return nil
}
