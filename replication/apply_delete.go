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

// doomed is a partition that the image does not have here any more.
type doomed struct {
	*Partition
	// aside says why its log is set aside. "": an event said that it was deleted, or given to
	// others, and its files go.
	aside string
}

// doomed are the partitions that the image does not have here any more. What an incomplete image lacks stays as it is.
func (a *applier) doomed(image *metadata.Image) []doomed {
	var all []doomed
	for id, hosted := range a.m.index.Load().byID {
		topic, exists := image.TopicByID(id)
		if known := a.topics[id]; exists && known != nil && known.topic == topic {
			continue
		}
		for _, p := range hosted.partitions {
			if p == nil {
				continue
			}
			if !exists {
				if aside, gone := whyGone(image, id, p.tp.Topic); gone {
					all = append(all, doomed{p, aside})
				}
			} else if state, left := a.leftUs(topic, p.tp.Partition); left {
				d := doomed{Partition: p}
				if state.PartitionEpoch <= p.role.Load().partitionEpoch {
					d.aside = strayWentBack
				}
				all = append(all, d)
			}
		}
	}
	return all
}

// Why a log is set aside, as `varve log strays` shows it.
const (
	strayNoTopic  = "the cluster has no topic with this id"
	strayRenamed  = "another topic has its name"
	strayLeft     = "the cluster has this partition on other brokers"
	strayWentBack = "the cluster has this partition on other brokers, by a state that is not newer than the one before"
)

// whyGone tells whether a topic that the image does not have is gone, and why its logs are set aside: "" if they need not be.
func whyGone(image *metadata.Image, id metadata.TopicID, name string) (aside string, gone bool) {
	_, renamed := image.TopicByName(name)
	switch {
	case !image.Incomplete() && !image.Vanished(id):
		return "", true // an event has deleted it
	case renamed:
		return strayRenamed, true
	case image.Incomplete():
		return "", false
	}
	return strayNoTopic, true
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
func (a *applier) leftUs(topic *metadata.Topic, number int32) (*metadata.Partition, bool) {
	p, ok := topic.Partition(number)
	return p, ok && p.Revision != 0 && !slices.Contains(p.Replicas, a.m.o.BrokerID)
}

// delete ends partitions: first for clients, then for the tier, then on disk.
func (a *applier) delete(ctx context.Context, all []doomed) map[metadata.TopicID]error {
	failed := map[metadata.TopicID]error{}
	if len(all) == 0 {
		return failed
	}
	next := a.m.index.Load().edit()
	partitions := make([]*Partition, len(all))
	for i, p := range all {
		next.remove(p.Partition)
		partitions[i] = p.Partition
	}
	a.m.index.Store(&next.index)
	a.m.fetchers.drop(partitions)
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(applyParallel)
	for _, p := range all {
		p.resign(role{gone: true, epoch: p.role.Load().epoch, leaderID: metadata.NoBroker})
		a.tell(p.Partition)
		g.Go(func() error {
			if p.attached {
				p.tier.Detach(p.tp)
			}
			if err := a.removeFiles(ctx, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[p.topicID] = errors.Join(failed[p.topicID], err)
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in failed
	if len(failed) > 0 {
		a.straysSettled = false // the logs are still there, and no partition has them
	}
	return failed
}

// removeFiles deletes a partition's log, or sets it aside.
func (a *applier) removeFiles(ctx context.Context, p doomed) error {
	if p.aside != "" {
		return a.setAside(ctx, p.tp, p.topicID, p.aside)
	}
	err := a.m.o.Storage.Delete(p.tp.Topic, p.tp.Partition)
	if err != nil {
		a.m.o.Logger.LogAttrs(ctx, slog.LevelError, "log of a deleted partition cannot be deleted, setting it aside soon",
			slog.String("partition", p.tp.String()), slog.Any("error", err))
	}
	return err
}

func (a *applier) setAside(ctx context.Context, tp metadata.TopicPartition, id metadata.TopicID, why string) error {
	attrs := []slog.Attr{slog.String("partition", tp.String()), slog.String("topic_id", id.String()), slog.String("reason", why)}
	if err := a.m.o.Storage.SetAside(tp.Topic, tp.Partition, why); err != nil {
		a.m.o.Logger.LogAttrs(ctx, slog.LevelError, "stray log cannot be set aside, trying again soon", append(attrs, slog.Any("error", err))...)
		return err
	}
	a.m.o.Logger.LogAttrs(ctx, slog.LevelWarn, "stray log set aside: see varve log strays", attrs...)
	return nil
}

// settleStrays looks at logs on the disk that no partition has: those of topics that were deleted, or moved away, while this broker
// was down, are set aside. It does so with the first image and, as long as images are incomplete or a log stays where it
// is, with those that follow.
func (a *applier) settleStrays(ctx context.Context, image *metadata.Image, failed map[metadata.TopicID]error) {
	if a.straysSettled {
		return
	}
	a.straysSettled = !image.Incomplete()
	for _, log := range slices.Collect(a.m.o.Storage.Logs()) {
		id, tp := metadata.TopicID(log.TopicID()), metadata.TopicPartition{Topic: log.Topic(), Partition: log.Partition()}
		if p, hosted := a.m.PartitionByID(id, tp.Partition); hosted && p.log == log {
			continue
		}
		why, known := a.whyStray(image, log)
		if why == "" {
			if !known {
				log.SetConfig(log.Config().KeepAll())
			}
			continue
		}
		if err := a.setAside(ctx, tp, id, why); err != nil {
			failed[id] = errors.Join(failed[id], err)
			a.straysSettled = false
		}
	}
}

// whyStray tells why a log does not belong here, "" if it does or if the image does not say: then known is false.
func (a *applier) whyStray(image *metadata.Image, log *storage.Log) (why string, known bool) {
	named, exists := image.TopicByName(log.Topic())
	id := metadata.TopicID(log.TopicID())
	switch {
	case !exists && image.Incomplete():
		return "", false
	case !exists:
		return strayNoTopic, true
	case named.ID != id && !id.IsZero(): // zero: a crash took its file; the log is told by its name
		return strayRenamed, true
	}
	if _, left := a.leftUs(named, log.Partition()); left {
		return strayLeft, true
	}
	return "", true
}
