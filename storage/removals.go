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
	keys map[partitionKey]bool
}

func (r *removals) add(key partitionKey) {
	r.Lock()
	defer r.Unlock()
	if r.keys == nil {
		r.keys = map[partitionKey]bool{}
	}
	r.keys[key] = true
}

func (r *removals) has(key partitionKey) bool {
	r.Lock()
	defer r.Unlock()
	return r.keys[key]
}

// settle syncs the names if logs were removed since the last time. What is removed while
// it does that counts for the next time.
func (r *removals) settle(fsys vfs.FS, d *dataDir) error {
	r.Lock()
	keys := r.keys
	r.keys = nil
	r.Unlock()
	if len(keys) == 0 || d.err() != nil {
		return nil
	}
	err := d.flushNames(fsys)
	if err != nil {
		r.Lock()
		defer r.Unlock()
		maps.Copy(keys, r.keys)
		r.keys = keys
	}
	return err
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
