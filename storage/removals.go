package storage

import (
	"maps"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// removals are the partitions whose logs a directory has renamed away, and may have again
// after a crash of the machine, since the names were not synced. That is of no harm until
// another log of the partition is made in another directory: the next start would find
// both. So the names are synced soon after, with the checkpoints, and before a log is made
// that has one of these names.
type removals struct {
	invariants.Mutex[rankRemovals]
	count int64                  // how many logs were ever renamed away
	keys  map[partitionKey]int64 // those whose names are not synced, by the count of then
}

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

// settle syncs the names if logs were removed since the last time. What is removed while
// it does that counts for the next time. Until the names are synced, has says that they are
// not, also to who asks while somebody else syncs them.
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

// settleRemoval makes durable that a partition's last log is gone. It is called before the
// next one is made, without the manager's lock: the disk may hang.
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
