package replication

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
)

// A replica is a broker and the data directory that has its log (KIP-858). The cluster's state
// names both. So a failed directory hands leadership over, and a broker that comes back without the
// directory does not count as having all records. The leader writes the directories: it knows its
// own, and followers report theirs in every fetch.

// directory returns the directory of the log, as the cluster should know it. It is zero while the
// log is about to move.
func (p *Partition) directory() metadata.DirectoryID {
	if p.moving.Load() {
		return metadata.DirectoryID{}
	}
	return p.log.DirectoryID()
}

// tellDirectory proposes the present ISR again, if this broker leads and the state names another
// directory for a log. This covers a failure of the leader's own directory: the state then names
// it, and the leadership moves although the cluster did not know where the log was.
func (p *Partition) tellDirectory() {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.DirectoriesDue{Now: p.now()})
}

// TellDirectories makes the leaders here report where their logs are, as far as the cluster does
// not know it. It must be called after a directory has failed.
func (m *Manager) TellDirectories() {
	for p := range m.Partitions() {
		p.tellDirectory()
	}
}

// Moving prepares the move of a log to another directory; it is storage.Options.Moving. When it
// returns, the cluster's state names no directory for this replica. Whatever happens to the move,
// and to either directory, the state then never names a directory without the log: a broker that
// loses one of its directories during the move counts as one that may have lost the log. done ends
// that state, and the leader reports the new directory.
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

// placed reports whether a partition's state names the directory of a broker's log.
func placed(state *metadata.Partition, broker int32) bool {
	return slices.ContainsFunc(slices.Concat(state.Members(), state.EligibleMembers()), func(m metadata.Member) bool {
		return m.Broker == broker && !m.Directory.IsZero()
	})
}

// learnPause is how long the writer waits for more directories before it writes them: those of a
// new topic arrive with the first fetches.
const learnPause = 50 * time.Millisecond

// learn schedules a report of a partition's directories. It does not wait.
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

// place reports the directories of partitions as they become known, until ctx ends.
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
