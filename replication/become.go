package replication

import (
	"fmt"

	"github.com/varvelog/varve/replication/insync"
	"github.com/varvelog/varve/replication/role"
)

// become gives an event to the role and carries out the effects; package role decides. If an effect
// fails the role stays as it was, and the caller has to bring the event again. The applier has at
// most one job for a partition's role, so calls for one partition do not overlap.
func (p *Partition) become(e role.Event) (role.Effects, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen, ok := e.(role.Seen); ok {
		seen.LogEnd = p.log.EndOffset()
		e = seen
	}
	next, effects := role.Step(*p.role.Load(), e)
	switch effects.Change {
	case role.MakeLeader:
		return effects, p.makeLeaderLocked(&next)
	case role.UpdateLeader:
		p.isrMu.Lock()
		defer p.isrMu.Unlock()
		p.replaceRoleLocked(&next, insync.ImageSeen{
			Partition: next.PartitionState, Log: p.offsets(), Directory: p.directory(),
		})
	case role.MakeFollower, role.Leave:
		p.makeFollowerLocked(&next)
	case role.NoChange, role.CreateLog, role.ReopenLog: // the log is open
	}
	return effects, nil
}

// leave takes the partition out of service for good. Its files stay.
func (p *Partition) leave() {
	_, _ = p.become(role.Removed{}) // no effect of Removed can fail
}

// makeLeaderLocked makes this broker the leader at the role's leader epoch, which starts at the
// log's end. A broker becomes the leader even if the log's disk has failed: until another replica
// is elected, clients get the disk's error.
func (p *Partition) makeLeaderLocked(next *role.State) error {
	if err := p.log.AssignEpoch(next.LeaderEpoch, next.LeaderEpochStartOffset); err != nil && p.log.Offline() == nil {
		return fmt.Errorf("lead %s at epoch %d: %w", p.tp, next.LeaderEpoch, err)
	}
	config := p.config.Load()
	if config.durable() {
		p.log.FlushSoon() // what recovery found may never have been synced
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.replaceRoleLocked(next, insync.BecameLeader{
		Self: p.brokerID, Partition: next.PartitionState, Settings: config.insync(), Log: p.offsets(),
		HighWatermark: p.log.HighWatermark(), Directory: p.directory(), Time: p.clock(), Proposes: p.isr != nil,
	})
	return nil
}

// makeFollowerLocked ends this broker's leadership, if it has it: another broker leads, no broker
// leads, or the partition is gone.
func (p *Partition) makeFollowerLocked(next *role.State) {
	p.tierEnd.Store(0)
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.replaceRoleLocked(next, insync.Resigned{})
}

// replaceRoleLocked replaces the role before it wakes the watchers that look at the role. The
// caller holds both locks.
func (p *Partition) replaceRoleLocked(next *role.State, e insync.Event) {
	p.role.Store(next)
	p.stepLocked(e)
}
