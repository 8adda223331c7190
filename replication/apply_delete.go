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

// doomed are the partitions that leave this broker with an image, and notes what becomes of their
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

// dooms reports whether a partition that an image lacks in this way leaves the broker.
func (a *applier) dooms(p *Partition, absence role.Absence) bool {
	fate, why := p.role.Load().Fate(absence)
	if fate == role.Keep {
		return false
	}
	k := a.knownOf(p)
	k.fate, k.why = fate, why
	return true
}

// leftUs tells whether the image gives a partition to other brokers. A partition that it does not
// know is left alone.
func (a *applier) leftUs(topic *metadata.Topic, number int32) bool {
	p, ok := topic.Partition(number)
	return ok && p.Revision != 0 && !slices.Contains(p.Replicas, a.m.o.BrokerID)
}

// delete ends partitions: first for clients, which is done when it returns, then for the tier and
// on the disk.
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

// removeLog deletes the log of a partition that is out of service and that the tier has let go of,
// or sets it aside.
func (m *Manager) removeLog(p *Partition, fate role.Fate, why string) error {
	if fate == role.Delete {
		return m.o.Storage.Delete(p.tp.Topic, p.tp.Partition)
	}
	return m.setAside(p.tp, p.topicID, why)
}

// setAside keeps a log of which no event says that it was deleted.
func (m *Manager) setAside(tp metadata.TopicPartition, id metadata.TopicID, why string) error {
	if err := m.o.Storage.SetAside(tp.Topic, tp.Partition, why); err != nil {
		return fmt.Errorf("set log of %s aside: %w", tp, err)
	}
	m.o.Logger.Warn("stray log set aside: see varve log strays",
		slog.String("partition", tp.String()), slog.String("topic_id", id.String()), slog.String("reason", why))
	return nil
}

// settleStrays looks at logs on the disk that no partition has: those of topics that were deleted,
// or moved away, while this broker was down, are set aside. It does so with the first image and, as
// long as images are incomplete or a log stays where it is, with those that follow. After an error
// the caller tries again.
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
		if a.works[tp] != nil { // a partition comes or goes; its log is no stray yet
			settled = false
			continue
		}
		switch fate, why := a.strayOf(image, log).Fate(); fate {
		case role.SetAside:
			errs = append(errs, a.m.setAside(tp, id, why))
		case role.KeepAll:
			log.SetConfig(storage.KeepAll(log.Config()))
		case role.Keep, role.Delete: // none is deleted
		}
	}
	err := errors.Join(errs...)
	a.straysSettled = err == nil && settled
	if err != nil {
		a.m.o.Logger.Error("stray logs cannot be set aside, trying again soon", slog.Any("error", err))
	}
	return err
}

// strayOf is how an image knows a log that no partition has.
func (a *applier) strayOf(image *metadata.Image, log *storage.Log) role.Stray {
	named, exists := image.TopicByName(log.Topic())
	s := role.Stray{Incomplete: image.Incomplete(), HasName: exists}
	if exists {
		id := metadata.TopicID(log.TopicID())
		s.SameTopic = named.ID == id || id.IsZero() // zero: a crash took its file
		s.Elsewhere = a.leftUs(named, log.Partition())
	}
	return s
}

// configOf is a topic's configuration, which deletes nothing while a part of it cannot be read.
// Until its settings change it is made once.
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
