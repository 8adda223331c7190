package storage

import (
	"maps"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// removals are the partitions whose logs a directory has renamed away without a sync of the names:
// after a crash of the machine the logs may be back. That is harmless until another directory gets
// a log of the partition; then the next start would find both. So the names are synced soon, with
// the checkpoints, and before a log of such a partition is created.
type removals struct {
	invariants.Mutex[rankRemovals]
	count int64                  // logs ever renamed away
	keys  map[partitionKey]int64 // partitions whose rename is not synced, with count at that time
}

// add notes a rename. It follows the rename and comes before the next log of the partition.
func (r *removals) add(key partitionKey) {
	r.Lock()
	defer r.Unlock()
	if r.keys == nil {
		r.keys = map[partitionKey]int64{}
	}
	r.count++
	r.keys[key] = r.count
}

func (r *removals) has(key partitionKey) bool {
	r.Lock()
	defer r.Unlock()
	return r.keys[key] != 0
}

// settle syncs the names if logs were removed since the last sync. A removal during the sync stays
// for the next one. Until the sync has returned, has still reports the partitions: a concurrent
// caller syncs itself and does not rely on a sync that may fail.
func (r *removals) settle(fsys vfs.FS, d *dataDir) error {
	r.Lock()
	pending, until := len(r.keys), r.count
	r.Unlock()
	if pending == 0 || d.err() != nil {
		return nil
	}
	if err := d.flushNames(fsys); err != nil {
		return err
	}
	r.Lock()
	defer r.Unlock()
	maps.DeleteFunc(r.keys, func(_ partitionKey, count int64) bool { return count <= until })
	return nil
}

// settleRemoval makes the removal of a partition's last log durable. It is called before the next
// one is created, without Manager.mu, because the disk may hang.
func (m *Manager) settleRemoval(key partitionKey) error {
	for _, d := range m.dirs {
		if !d.removed.has(key) {
			continue
		}
		if err := d.removed.settle(m.env.fs, d); err != nil {
			return err
		}
	}
	return nil
}
