package replication

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
)

// A replica is a broker and the data directory that has its log (KIP-858). The cluster's
// state names both, so that a failed directory hands leadership over, and a broker that
// comes back without it does not count as one that has everything. The leader has the
// directories written: it knows its own, and followers name theirs in every fetch.

// directory is where the log is, as far as the cluster shall know. It is zero while the
// log is about to move.
func (p *Partition) directory() metadata.DirectoryID {
	if p.moving.Load() {
		return metadata.DirectoryID{}
	}
	return p.log.DirectoryID()
}

// tellDirectory proposes the in-sync set as it is, if this broker leads and the state
// names another directory for a log. The leader's own may have failed: so the leadership
// is given up although nobody knew where the log was.
func (p *Partition) tellDirectory() {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.DirectoriesDue{Now: p.now()})
}

// TellDirectories has the leaders here say where their logs are, where the cluster does
// not know it. It is to be called when a directory has failed.
func (m *Manager) TellDirectories() {
	for p := range m.Partitions() {
		p.tellDirectory()
	}
}

// Moving prepares the move of a log to another directory; it is storage.Options.Moving.
// When it returns, the cluster's state names no directory for this replica. Whatever
// becomes of the move, and of either directory, the state then names none that does not
// have the log: a broker that lost one of its directories at that time counts as one that
// may have lost the log. done ends that; the new directory is told.
func (m *Manager) Moving(ctx context.Context, topic string, partition int32) (done func(), err error) {
	tp := metadata.TopicPartition{Topic: topic, Partition: partition}
	p, ok := m.Partition(tp)
	if !ok {
		return func() {}, nil
	}
	p.moving.Store(true)
	done = func() {
		p.moving.Store(false)
		p.tellDirectory()
	}
	p.tellDirectory()
	_, err = m.o.Cluster.Wait(ctx, func(image *metadata.Image) bool {
		state, exists := image.Partition(tp)
		return !exists || !placed(state, m.o.BrokerID)
	})
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// placed reports that a partition's state names the directory of a broker's log.
func placed(state *metadata.Partition, broker int32) bool {
	return slices.ContainsFunc(slices.Concat(state.Members(), state.EligibleMembers()), func(m metadata.Member) bool {
		return m.Broker == broker && !m.Directory.IsZero()
	})
}

// learnPause is how long the writing of directories waits for more of them: those of a
// new topic come with the first fetches.
const learnPause = 50 * time.Millisecond

// learn has a partition's directories told soon. It does not wait.
func (w *isrWriter) learn(p *Partition) {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.unplaced[p] = true
	w.mu.Unlock()
	select {
	case w.wakeUnplaced <- struct{}{}:
	default:
	}
}

// place has the directories of partitions told as they become known, until ctx ends.
func (w *isrWriter) place(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wakeUnplaced:
		}
		pause.Reset(learnPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		w.mu.Lock()
		unplaced := slices.Collect(maps.Keys(w.unplaced))
		clear(w.unplaced)
		w.mu.Unlock()
		for _, p := range unplaced {
			p.tellDirectory()
		}
	}
}
