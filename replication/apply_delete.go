package replication

import (
	"context"
	"log/slog"
	"slices"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// doomed are the partitions that the image does not have here any more.
func (a *applier) doomed(image *metadata.Image) []*Partition {
	var doomed []*Partition
	for id, hosted := range a.m.index.Load().byID {
		topic, exists := image.TopicByID(id)
		if known := a.topics[id]; exists && known != nil && known.topic == topic {
			continue
		}
		for _, p := range hosted.partitions {
			if p != nil && (!exists || a.leftUs(topic, p.tp.Partition)) {
				doomed = append(doomed, p)
			}
		}
	}
	return doomed
}

// forget drops the topics that the image has no more.
func (a *applier) forget(image *metadata.Image) {
	for id := range a.topics {
		if _, ok := image.TopicByID(id); !ok {
			delete(a.topics, id)
		}
	}
}

// leftUs tells whether the image gives a partition to other brokers. A partition that it does not know is left alone.
func (a *applier) leftUs(topic *metadata.Topic, number int32) bool {
	p, ok := topic.Partition(number)
	return ok && p.Revision != 0 && !slices.Contains(p.Replicas, a.m.o.BrokerID)
}

// delete ends partitions: first for clients, which is done when it returns, then for the tier and on
// the disk.
func (a *applier) delete(doomed []*Partition, r *round) {
	if len(doomed) == 0 {
		return
	}
	next := a.m.index.Load().edit()
	for _, p := range doomed {
		next.remove(p)
	}
	a.m.index.Store(&next.index)
	a.m.fetchers.drop(doomed)
	for _, p := range doomed {
		w := a.workOf(p.tp, p)
		if w.makes(p.topicID) {
			a.overtake(w)
			w.want = nil
		}
		a.m.served.forget(p.topicID, p.tp.Partition)
		w.partition, w.doomed = p, r
		r.begin()
		a.advance(w)
	}
	a.keepTraffic()
}

// deleteLog deletes the log of a partition that is out of service and that the tier has let go of.
func (m *Manager) deleteLog(p *Partition) error {
	return m.o.Storage.Delete(p.tp.Topic, p.tp.Partition)
}

// keepTraffic forgets the counters of topics that have no partition here any more.
func (a *applier) keepTraffic() {
	making := map[metadata.TopicID]bool{}
	for _, w := range a.works {
		if w.want != nil {
			making[w.want.topic.ID] = true
		}
	}
	hosted := a.m.index.Load().byID
	a.m.traffic.keep(func(id metadata.TopicID) bool { return hosted[id] != nil || making[id] })
}

// deleteStrays deletes what is on disk and not in the first image: topics that were deleted, or moved away, while this broker was down.
func (a *applier) deleteStrays(ctx context.Context, image *metadata.Image) {
	logger := a.m.o.Logger
	var strays []*storage.Log
	for log := range a.m.o.Storage.Logs() {
		topic, ok := image.TopicByID(log.TopicID())
		if !ok || topic.Name != log.Topic() || a.leftUs(topic, log.Partition()) {
			strays = append(strays, log)
		}
	}
	for _, log := range strays {
		tp := metadata.TopicPartition{Topic: log.Topic(), Partition: log.Partition()}
		attrs := []slog.Attr{slog.String("partition", tp.String()), slog.String("topic_id", metadata.TopicID(log.TopicID()).String())}
		if err := a.m.o.Storage.Delete(tp.Topic, tp.Partition); err != nil {
			logger.LogAttrs(ctx, slog.LevelError, "stray partition cannot be deleted", append(attrs, slog.Any("error", err))...)
			continue
		}
		logger.LogAttrs(ctx, slog.LevelWarn, "stray partition deleted: the cluster does not have it here any more", attrs...)
	}
}
