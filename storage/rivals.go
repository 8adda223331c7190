package storage

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
)

// A partition may be in two directories: one of them had failed, the partition was removed from
// this broker and assigned to it again, and now the failed directory works again. The log in the
// other directory is newer. The older one is set aside: the broker starts, and the records of the
// older log can still be recovered.
//
// A log that is created while a directory is offline records that in its partition.metadata, until
// a start finds the directory working again.

// offlineIDs returns the ids of the directories that are out of service.
func (m *Manager) offlineIDs() (ids [][16]byte) {
	for _, d := range m.dirs {
		if d.err() != nil && d.id != ([16]byte{}) {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// forgetSuperseded removes from the logs' metadata the directories that work again. Their older
// logs must be set aside durably before: a power cut might bring these back. A crash in between is
// safe, because the next start does the rest.
func (m *Manager) forgetSuperseded() error {
	settled := func(id [16]byte) bool {
		d := m.dirByID(id)
		return d != nil && d.err() == nil && d.removed.settle(m.env.fs, d) == nil
	}
	for _, l := range m.all() {
		left := slices.DeleteFunc(slices.Clone(l.supersedes), settled)
		if len(left) == len(l.supersedes) {
			continue
		}
		l.supersedes = left
		if err := l.writeMetadata(l.TopicID()); err != nil {
			return fmt.Errorf("note that no log of %s is older: %w", l.key, classify(err))
		}
	}
	return nil
}

// addRival notes a log whose partition has another log in the map.
func (m *Manager) addRival(l *Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.rivals = append(m.mu.rivals, l)
}

// settleRivals keeps one log of each partition and sets the older one aside. All logs were loaded.
func (m *Manager) settleRivals() error {
	for _, rival := range m.mu.rivals {
		if rival.dir().leftOut {
			rival.close()
			continue
		}
		present, ok := m.Log(rival.key.topic, rival.key.partition)
		if !ok { // its directory was left out
			m.enter(rival)
			continue
		}
		keep, older := present, rival
		switch order := compareAge(present, rival); {
		case order == 0:
			return fmt.Errorf("%w: partition %s is in %s and in %s, of different topics: remove the one that is not of use any more",
				ErrDirInvalid, rival.key, present.dir().path, rival.dir().path)
		case order < 0:
			keep, older = rival, present
		}
		m.env.logger.Warn("a partition is in two directories, and the older log is set aside",
			slog.String("partition", rival.key.String()), slog.String("kept", keep.dir().path), slog.String("set_aside", older.dir().path))
		m.leave(present)
		m.enter(older)
		reason := "directory " + keep.dir().path + " has a newer log of the partition"
		if err := m.SetAside(older.key.topic, older.key.partition, reason); err != nil {
			return err
		}
		m.enter(keep)
	}
	m.mu.rivals = nil
	return m.forgetSuperseded()
}

// compareAge is positive if log a is newer than log b of the same partition, negative if it is
// older, and 0 if that is unknown. A log that was created while the directory of the other one was
// offline is newer. A log in a directory that had failed is older. Otherwise the newer log has the
// newer leader epoch, because removing a replica raises it; or else the higher log start; or else
// the higher end.
func compareAge(a, b *Log) int {
	if made := compareBool(a.madeWithout(b.dir()), b.madeWithout(a.dir())); made != 0 {
		return made
	}
	if byFailure := compareBool(b.dir().failedBefore, a.dir().failedBefore); byFailure != 0 {
		return byFailure
	}
	if a.TopicID() != b.TopicID() {
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.LatestEpoch(), b.LatestEpoch()),
		cmp.Compare(a.StartOffset(), b.StartOffset()),
		cmp.Compare(a.EndOffset(), b.EndOffset()),
		1,
	)
}

// madeWithout reports whether the log was created while a directory was offline.
func (l *Log) madeWithout(d *dataDir) bool { return slices.Contains(l.supersedes, d.id) }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
