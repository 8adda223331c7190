package storage

import (
	"cmp"
	"fmt"
	"log/slog"
)

// A partition is in two directories when one of them had failed, the partition was
// taken from this broker and given back, and the directory works again. What came back
// is in the other one, and newer. The older one is set aside: the broker starts, and
// nothing is lost if somebody wants to see it.

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
	return nil
}

// compareAge is positive if log a is newer than b, of the same partition; 0 if nobody
// can tell. One that is in a directory that had failed was left behind by the other.
// Otherwise the newer one has seen the newer leader epoch, since a replica that is taken
// away raises it; or has deleted more; or, with all else the same, has a longer part of
// the same log.
func compareAge(a, b *Log) int {
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
