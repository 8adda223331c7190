package replication

import (
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
	"github.com/varvelog/varve/replication/role"
)

// stepLocked gives an event to the in-sync protocol and carries out the effects; package insync
// decides. The caller reads the log's offsets for the event under isrMu too: the later of two
// events has the newer offsets, so no change is missed.
func (p *Partition) stepLocked(e insync.Event) {
	var effects insync.Effects
	p.insync, effects = insync.Step(p.insync, e)
	if effects.HighWatermark > 0 {
		p.log.SetHighWatermark(effects.HighWatermark)
	}
	if effects.Wake {
		p.watchers.wake()
	}
	if effects.Proposal != nil {
		p.isr.push(p)
	}
	if effects.TellDirectories {
		p.isr.learn(p)
	}
}

// offsets returns the log's offsets. They only grow while this broker leads and isrMu or mu is
// held.
func (p *Partition) offsets() insync.Log {
	end := p.log.EndOffset()
	return insync.Log{Start: p.log.StartOffset(), End: end, Flushed: min(p.log.FlushedOffset(), end), DiskFailed: p.log.Offline() != nil}
}

// now returns the facts that a proposal has to respect.
func (p *Partition) now() insync.Now {
	return insync.Now{Directory: p.directory(), Image: p.newestImage()}
}

// newestImage returns the cluster's newest image, nil in tests without metadata.
func (p *Partition) newestImage() *metadata.Image {
	if p.image == nil {
		return nil
	}
	return p.image()
}

// fetchedBy records that a follower has fetched from an offset at the role's epoch. It therefore
// has everything below the offset, in a log that begins at logStart.
func (p *Partition) fetchedBy(m metadata.Member, r *role.State, offset, logStart int64) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.FollowerFetched{
		LeaderEpoch: r.LeaderEpoch, Follower: m, Offset: offset, LogStart: logStart, Log: p.offsets(), Now: p.now(), Time: p.clock(),
	})
}

// maybeShrinkISR proposes an ISR without the followers that have been behind for maxLag.
func (p *Partition) maybeShrinkISR(maxLag time.Duration) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.Tick{MaxLag: maxLag, Log: p.offsets(), Now: p.now(), Time: p.clock()})
}

// pendingISR returns the proposal that waits to be written.
func (p *Partition) pendingISR() (metadata.ISRChange, bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	open, ok := p.insync.Open()
	return metadata.ISRChange{
		TopicID: p.topicID, Partition: p.tp.Partition, LeaderEpoch: open.LeaderEpoch, PartitionEpoch: open.PartitionEpoch, ISR: open.ISR,
	}, ok
}

// proposed handles the outcome of a proposal. refused means that it was not written and never will
// be; any other error leaves open whether it was written.
func (p *Partition) proposed(c metadata.ISRChange, refused bool, err error) {
	outcome := insync.WasUncertain
	switch {
	case err == nil:
		outcome = insync.WasWritten
	case refused:
		outcome = insync.WasRefused
	}
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.ProposalAnswered{
		Proposal: insync.Proposal{LeaderEpoch: c.LeaderEpoch, PartitionEpoch: c.PartitionEpoch, ISR: c.ISR},
		Outcome:  outcome, Log: p.offsets(), Image: p.newestImage(),
	})
}
