package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
)

// doomed returns the partitions that leave this broker with an image, and records the fate of their
// logs.
func (a *applier) doomed(d difference) (doomed []*Partition) {
	all := a.m.index.Load().byID
	if d.whole {
		for _, hosted := range all {
			doomed = append(doomed, a.doomedOf(d, hosted)...)
		}
		return doomed
	}
	for id := range d.topics {
		if hosted := all[id]; hosted != nil {
			doomed = append(doomed, a.doomedOf(d, hosted)...)
		}
	}
	return doomed
}

// doomedOf is doomed for one topic.
func (a *applier) doomedOf(d difference, hosted *hostedTopic) (doomed []*Partition) {
	topic, exists := d.image.TopicByID(hosted.id)
	if !exists {
		_, taken := d.image.TopicByName(hosted.name)
		absence := role.Absence{
			Incomplete: d.image.Incomplete(), Vanished: d.image.Vanished(hosted.id), NameTaken: taken,
		}
		for _, p := range hosted.partitions {
			if p != nil && a.dooms(p, absence) {
				doomed = append(doomed, p)
			}
		}
		return doomed
	}
	for number := range topic.PartitionsSince(d.followed(topic)) {
		p, here := hosted.partition(number)
		if !here || !a.leftUs(topic, number) {
			continue
		}
		if a.dooms(p, role.Absence{
			Incomplete: d.image.Incomplete(), HasTopic: true, Elsewhere: true,
			PartitionEpoch: topic.Partitions[number].PartitionEpoch,
		}) {
			doomed = append(doomed, p)
		}
	}
	return doomed
}

// dooms reports whether a partition that is missing in an image in this way leaves the broker. If
// so it records the fate of the log.
func (a *applier) dooms(p *Partition, absence role.Absence) bool {
	fate, why := p.role.Load().Fate(absence)
	if fate == role.Keep {
		return false
	}
	k := a.knownOf(p)
	k.fate, k.why = fate, why
	return true
}

// leftUs reports whether the image assigns a partition to other brokers. It returns false for a
// partition whose state the image does not have.
func (a *applier) leftUs(topic *metadata.Topic, number int32) bool {
	p, ok := topic.Partition(number)
	return ok && p.Revision != 0 && !slices.Contains(p.Replicas, a.m.o.BrokerID)
}

// delete removes partitions: for clients before it returns, then in the tier and on disk by jobs of
// the pool.
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

// keepTraffic drops the counters of topics that have no partition here any more.
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

// removeLog deletes or sets aside the log of a partition that is out of service and detached from
// the tier.
func (m *Manager) removeLog(p *Partition, fate role.Fate, why string) error {
	if fate == role.Delete {
		return m.o.Storage.Delete(p.tp.Topic, p.tp.Partition)
	}
	return m.setAside(p.tp, p.topicID, why)
}

// setAside keeps a log that no event has deleted, outside the served logs.
func (m *Manager) setAside(tp metadata.TopicPartition, id metadata.TopicID, why string) error {
	if err := m.o.Storage.SetAside(tp.Topic, tp.Partition, why); err != nil {
		return fmt.Errorf("set log of %s aside: %w", tp, err)
	}
	m.o.Logger.Warn("stray log set aside: see varve log strays",
		slog.String("partition", tp.String()), slog.String("topic_id", id.String()), slog.String("reason", why))
	return nil
}

// settleStrays looks at logs on disk without a partition. Logs of topics that were deleted or moved
// away while this broker was down are set aside. It runs with the first image, and again with later
// images while images are incomplete or a log could not be settled. After an error the caller
// retries.
func (a *applier) settleStrays(image *metadata.Image) error {
	if a.straysSettled {
		return nil
	}
	var errs []error
	settled := !image.Incomplete()
	for _, log := range slices.Collect(a.m.o.Storage.Logs()) {
		id, tp := metadata.TopicID(log.TopicID()), metadata.TopicPartition{Topic: log.Topic(), Partition: log.Partition()}
		if p, hosted := a.m.PartitionByID(id, tp.Partition); hosted && p.log == log {
			continue
		}
		// a partition is being created or removed; its log is no stray yet
		if a.works[tp] != nil {
			settled = false
			continue
		}
		switch fate, why := a.strayOf(image, log).Fate(); fate {
		case role.SetAside:
			errs = append(errs, a.m.setAside(tp, id, why))
		case role.KeepAll:
			log.SetConfig(storage.KeepAll(log.Config()))
		case role.Keep, role.Delete: // a stray is never deleted
		}
	}
	err := errors.Join(errs...)
	a.straysSettled = err == nil && settled
	if err != nil {
		a.m.o.Logger.Error("stray logs cannot be set aside, trying again soon", slog.Any("error", err))
	}
	return err
}

// strayOf describes how an image knows a log that has no partition.
func (a *applier) strayOf(image *metadata.Image, log *storage.Log) role.Stray {
	named, exists := image.TopicByName(log.Topic())
	s := role.Stray{Incomplete: image.Incomplete(), HasName: exists}
	if exists {
		id := metadata.TopicID(log.TopicID())
		s.SameTopic = named.ID == id || id.IsZero() // zero: a crash lost the file with the id
		s.Elsewhere = a.leftUs(named, log.Partition())
	}
	return s
}

// configOf returns a topic's configuration. While part of the settings cannot be read, the
// configuration deletes nothing. It is cached until the settings change.
func (a *applier) configOf(image *metadata.Image, topic *metadata.Topic) *Config {
	config := a.configs[topic.ID]
	if config == nil {
		made := a.m.o.Config(image, topic.Name)
		if image.SettingsUnreadable(topic.Name, a.m.o.BrokerID) {
			made.Log = storage.KeepAll(made.Log)
		}
		config = &made
		a.configs[topic.ID] = config
	}
	return config
}
