package storage

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
)

// A partition is in two directories when one of them had failed, the partition was
// taken from this broker and given back, and the directory works again. What came back
// is in the other one, and newer. The older one is set aside: the broker starts, and
// nothing is lost if somebody wants to see it.
//
// A log that is made while a directory is offline says so in its partition.metadata, until
// a start finds that directory at work again.

// offlineIDs are the directories that are out of service.
func (m *Manager) offlineIDs() (ids [][16]byte) {
	for _, d := range m.dirs {
		if d.err() != nil && d.id != ([16]byte{}) {
			ids = append(ids, d.id)
		}
	}
	return ids
}

// forgetSuperseded has logs not name directories any more that work, and whose older logs are
// set aside durably: a power cut might bring these back. A crash before all is written: the
// next start does it.
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

// addRival remembers a log of which the map has another one in another directory.
func (m *Manager) addRival(l *Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.rivals = append(m.mu.rivals, l)
}

// settleRivals leaves one log of each partition: all were loaded.
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

// compareAge is positive if log a is newer than log b of the same partition, negative if
// it is older, and 0 if that is unknown. A log that was made while the directory of the
// other one was offline is newer. A log in a directory that had failed is older. Otherwise
// the newer log has the newer leader epoch, since the removal of a replica raises it, or
// the higher log start, or, with both the same, the higher end.
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

// madeWithout reports whether the log was made while a directory was offline.
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
