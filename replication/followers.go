package replication

import (
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
	"github.com/varvelog/varve/replication/role"
)

// stepLocked has the in-sync protocol answer to an event, and its effects happen. Package insync
// decides. What it has to know of the log is read under isrMu as well: of two events the later one
// has the newer offsets, so that none is missed.
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

// offsets are the log's. While this broker leads and isrMu or mu is held they only grow.
func (p *Partition) offsets() insync.Log {
	end := p.log.EndOffset()
	return insync.Log{Start: p.log.StartOffset(), End: end, Flushed: min(p.log.FlushedOffset(), end), DiskFailed: p.log.Offline() != nil}
}

// now is what a proposal has to respect.
func (p *Partition) now() insync.Now {
	return insync.Now{Directory: p.directory(), Image: p.newestImage()}
}

// newestImage is that of the cluster, nil in tests without metadata.
func (p *Partition) newestImage() *metadata.Image {
	if p.image == nil {
		return nil
	}
	return p.image()
}

// fetchedBy notes that a follower has fetched from an offset at the role's epoch, and so has
// everything below it, in a log that begins at logStart.
func (p *Partition) fetchedBy(m metadata.Member, r *role.State, offset, logStart int64) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.FollowerFetched{
		LeaderEpoch: r.LeaderEpoch, Follower: m, Offset: offset, LogStart: logStart, Log: p.offsets(), Now: p.now(), Time: p.clock(),
	})
}

// shrink proposes to go on without the followers that have not had everything for maxLag.
func (p *Partition) maybeShrinkISR(maxLag time.Duration) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	p.stepLocked(insync.Tick{MaxLag: maxLag, Log: p.offsets(), Now: p.now(), Time: p.clock()})
}

// pendingISR is the proposal that waits to be written.
func (p *Partition) pendingISR() (metadata.ISRChange, bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	open, ok := p.insync.Open()
	return metadata.ISRChange{
		TopicID: p.topicID, Partition: p.tp.Partition, LeaderEpoch: open.LeaderEpoch, PartitionEpoch: open.PartitionEpoch, ISR: open.ISR,
	}, ok
}

// proposed takes the outcome of a proposal. refused: it was not written and never will be; any
// other error leaves open whether it was.
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
