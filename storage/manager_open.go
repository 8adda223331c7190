package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
)

// open brings the directories into service. A disk that fails only takes its own directory out.
// Other errors end the start: a directory is used by another process or belongs to another broker,
// a known directory is not configured, or a partition is in two directories and it is unknown which
// log is newer.
//
// The order of the steps matters. Ownership is checked before any log is touched. Interrupted moves
// are settled before logs are loaded, because only then each log has its name. Rivals and moves
// follow when it is known which directories work.
func (m *Manager) open(ctx context.Context) error {
	if len(m.dirs) == 0 {
		return fmt.Errorf("%w: none is configured", ErrDirInvalid)
	}
	for _, d := range m.dirs {
		switch err := d.open(m.env.fs); {
		case errors.Is(err, ErrDirLocked):
			return err
		case err != nil:
			m.leaveOut(d, err)
		}
	}
	if err := m.claimDirs(); err != nil {
		return err
	}
	futures := m.settleMoves()
	if err := m.loadAll(ctx); err != nil {
		return err
	}
	if err := m.settleFailed(); err != nil {
		return err
	}
	m.findStrays()
	if err := m.settleRivals(); err != nil {
		return err
	}
	m.resumeMoves(futures)
	return nil
}

// leaveOut takes a directory out of service while the broker starts. Only its first failure counts.
func (m *Manager) leaveOut(d *dataDir, err error) {
	if d.failure.CompareAndSwap(nil, &err) {
		m.env.logger.Error("data directory is offline: its partitions serve nothing until a start at which it works",
			slog.String("dir", d.path), errorAttr(err))
	}
}

// claimDirs checks which broker the directories belong to, and makes new ones this broker's.
func (m *Manager) claimDirs() error {
	own := metaProperties{clusterID: m.options.ClusterID, nodeID: m.options.NodeID}
	for _, d := range m.dirs {
		if d.err() != nil || d.meta == nil {
			continue
		}
		id, err := d.checkOwner(own)
		if err != nil {
			return err
		}
		own.clusterID = id
	}
	if own.clusterID == "" { // a new cluster
		own.clusterID = formatUUID(newID())
	}
	m.clusterID = own.clusterID
	known, err := m.recallDirs()
	if err != nil {
		return err
	}
	for _, d := range m.dirs {
		if d.err() != nil || d.meta != nil {
			continue
		}
		own.directoryID = newID()
		if id, ok := known.at(d.path); ok && m.dirByID(id) == nil {
			if !d.recorded {
				d.id = id // known, because a log may have been moving there
				m.leaveOut(d, fmt.Errorf("%w: %s is empty, and was directory %s: mount its disk, or tell with varve.lost.log.dirs=%[3]s that it is gone for good",
					ErrDirInvalid, d.path, formatUUID(id)))
				continue
			}
			// Only meta.properties was removed, so that this cluster adopts the directory.
			own.directoryID = id
		}
		if err = d.claim(m.env.fs, own, m.options.Now()); err != nil {
			m.leaveOut(d, err)
		}
	}
	m.rememberDirs(known)
	return nil
}

// loadAll opens every log, several at a time, then makes each directory consistent with what was
// found. The marker of a failed fsync is removed only after all logs of the directory were
// recovered.
func (m *Manager) loadAll(ctx context.Context) error {
	began := m.options.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(m.options.RecoveryWorkers)
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		m.loadDir(ctx, g, d)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, d := range m.dirs {
		if d.err() != nil {
			continue
		}
		err := m.lowerHighWatermarks(d)
		if err == nil {
			err = d.trustAgain()
		}
		if err != nil {
			m.leaveOut(d, d.unusable(err))
		}
	}
	m.env.logger.Info("logs opened", slog.Int("logs", len(m.all())), slog.Duration("took", m.options.Now().Sub(began)))
	return nil
}

// lowerHighWatermarks lowers the high watermarks in a directory's checkpoint that are above the
// ends of their logs, because a power cut took committed records (S20). Otherwise the records that
// take those offsets later would count as committed after the next crash. A full disk refuses the
// write; the checkpoints are then written as soon as there is room.
func (m *Manager) lowerHighWatermarks(d *dataDir) error {
	logs := append(slices.Clone(m.all()), m.mu.rivals...)
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	lowered := maps.Clone(d.checkpoints.written[hwFile])
	for _, l := range logs {
		if end := l.offsets.end.Load(); l.dir() == d && lowered[l.key] > end {
			lowered[l.key] = end
		}
	}
	if lowered == nil {
		return nil // the checkpoint is missing or damaged
	}
	err := d.writeCheckpointLocked(m.env.fs, hwFile, lowered)
	if err != nil && passing(err) {
		m.env.logger.Warn("high watermarks cannot be lowered after a crash, trying again soon", errorAttr(err))
		d.checkpointSoon()
		return nil
	}
	return err
}

// loadDir lists a directory and begins to open its logs. The first log that cannot be opened takes
// the directory out of service.
func (m *Manager) loadDir(ctx context.Context, g *errgroup.Group, d *dataDir) {
	offsets := d.readCheckpoints(m.env.fs, m.env.logger)
	keys, deleted, err := d.partitions(m.env.fs)
	if err != nil {
		m.leaveOut(d, err)
		return
	}
	for _, dir := range deleted {
		m.env.trash.add(trashItem{dir: dir})
	}
	for _, key := range keys {
		l := newLog(m.env, d, key, m.options.Config(key.topic))
		if m.enter(l) != nil {
			m.addRival(l)
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if d.err() != nil {
				return nil //nolint:nilerr // it has been left out meanwhile
			}
			if loadErr := l.load(offsets.of(d, key)); loadErr != nil {
				m.leaveOut(d, fmt.Errorf("open log %s in %s: %w", key, d.path, loadErr))
			}
			return nil
		})
	}
	if err = m.startCheckpoints(d, offsets); err != nil {
		m.leaveOut(d, err)
	}
}

// enter adds a log that is about to be opened to the map. If the map has another log of the
// partition it changes nothing and returns that one. It locks because a scrape of the metrics may
// read the map.
func (m *Manager) enter(l *Log) (other *Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other = m.mu.logs[l.key]; other != nil {
		return other
	}
	m.mu.logs[l.key] = l
	l.dir().logs++
	m.sorted.Store(nil)
	return nil
}

// leave removes a log that was opened from the map.
func (m *Manager) leave(l *Log) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.logs, l.key)
	l.dir().logs--
	m.sorted.Store(nil)
}

// startCheckpoints writes an empty recovery checkpoint in a directory that has neither one nor
// logs. Without the file a later start could not tell a new log from one whose recovery point was
// lost, and would accept every gap between segments as one that compaction left.
func (m *Manager) startCheckpoints(d *dataDir, offsets checkpointed) error {
	if d.hasRecovery || len(offsets.recovery) > 0 || d.logs > 0 {
		return nil
	}
	err := d.writeCheckpoint(m.env.fs, recoveryFile, func() map[partitionKey]int64 { return nil })
	if err != nil {
		return d.unusable(err)
	}
	return nil
}

// settleFailed removes the logs that were opened in directories that failed afterwards. Reopen
// creates stand-ins for those that are still wanted. It is an error if no directory is left.
func (m *Manager) settleFailed() error {
	var failures error
	for _, d := range m.dirs {
		p := d.failure.Load()
		if p == nil {
			continue
		}
		d.leftOut = true
		if failures == nil {
			failures = *p
		} else {
			failures = fmt.Errorf("%w; %w", failures, *p)
		}
	}
	if m.failedDirs() == len(m.dirs) {
		return failures
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, l := range m.mu.logs {
		if l.dir().leftOut {
			l.close()
			delete(m.mu.logs, key)
		}
	}
	m.sorted.Store(nil)
	return nil
}

// failedDirs returns how many directories are out of service.
func (m *Manager) failedDirs() int {
	n := 0
	for _, d := range m.dirs {
		if d.err() != nil {
			n++
		}
	}
	return n
}
