package replication

import (
	"context"
	"slices"

	"github.com/varvelog/varve/metadata"
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

// placedLocked is an in-sync set with the directories that its members have said.
func (p *Partition) placedLocked(isr []metadata.Member) []metadata.Member {
	isr = slices.Clone(isr)
	for i := range isr {
		m := &isr[i]
		if m.Broker == p.brokerID {
			m.Directory = p.directory()
		} else if f := find(p.followers.progress, m.Broker); f != nil && f.Epoch == m.Epoch && f.end >= 0 {
			m.Directory = f.Directory
		}
	}
	return isr
}

// tellDirectory proposes the in-sync set as it is, if this broker leads and the state has
// another directory for its log. That one may have failed: so the leadership is given up
// although nobody knew where the log was.
func (p *Partition) tellDirectory() {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.role.Load()
	if !r.leader {
		return
	}
	for _, m := range r.isr {
		if m.Broker == p.brokerID && m.Directory != p.directory() {
			p.proposeLocked(r.isr)
		}
	}
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

// placed tells that a partition's state names the directory of a broker's log.
func placed(state *metadata.Partition, broker int32) bool {
	return slices.ContainsFunc(slices.Concat(state.Members(), state.EligibleMembers()), func(m metadata.Member) bool {
		return m.Broker == broker && !m.Directory.IsZero()
	})
}
