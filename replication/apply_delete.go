package replication

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

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

// delete ends partitions: first for clients, then for the tier, then on disk.
func (a *applier) delete(ctx context.Context, doomed []*Partition) map[metadata.TopicID]error {
	failed := map[metadata.TopicID]error{}
	if len(doomed) == 0 {
		return failed
	}
	next := a.m.index.Load().edit()
	for _, p := range doomed {
		next.remove(p)
	}
	a.m.index.Store(&next.index)
	a.m.fetchers.drop(doomed)
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(applyParallel)
	for _, p := range doomed {
		p.resign(role{gone: true, epoch: p.role.Load().epoch, leaderID: metadata.NoBroker})
		a.tell(p)
		g.Go(func() error {
			if p.attached {
				p.tier.Detach(p.tp)
			}
			if err := a.m.o.Storage.Delete(p.tp.Topic, p.tp.Partition); err != nil {
				a.m.o.Logger.LogAttrs(ctx, slog.LevelError, "files of a deleted partition stay on disk until the broker restarts",
					slog.String("partition", p.tp.String()), slog.Any("error", err))
				mu.Lock()
				defer mu.Unlock()
				failed[p.topicID] = errors.Join(failed[p.topicID], err)
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in failed
	return failed
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
