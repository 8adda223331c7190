package replication

import (
	"math"
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

// followers is what a leader knows of the other replicas, and of the in-sync set that it has proposed. It begins anew at every leader
// epoch: what a replica had before says nothing of what it has now. Partition.isrMu guards it.
type followers struct {
	progress []progress
	// wider is every set that was proposed on the present state and may have been written, put together: as long as nobody knows,
	// the high watermark waits for them all.
	wider    []metadata.Member
	proposal proposal
	refused  refusal
}

// refusal is an in-sync set that was refused. It would be again on the image that was the newest then.
type refusal struct {
	isr      []metadata.Member
	revision int64
}

// progress is how far one follower is.
type progress struct {
	metadata.Member           // as of its newest fetch; Epoch 0: none yet
	end             int64     // it has everything below
	logStart        int64     // its log begins there; -1: not known
	caughtUp        time.Time // when it last had everything that there was
	fetched         time.Time // when it last fetched
	leaderEnd       int64     // the leader's end then
}

// proposal is an in-sync set on its way to the metadata store.
type proposal struct {
	isr            []metadata.Member
	partitionEpoch int32 // that it rests on
	open           bool  // nobody has heard yet what became of it
	uncertain      bool  // an attempt may have been written, nobody knows
	settles        bool  // it is the present set, written again so that the outcome of the attempts before is known
	written        bool  // it was written, the image will show it
}

func newFollowers(r role, self int32, now time.Time) followers {
	var f followers
	for _, id := range r.replicas {
		if id != self {
			f.progress = append(f.progress, progress{Member: metadata.Member{Broker: id}, end: -1, logStart: -1, caughtUp: now})
		}
	}
	return f
}

// keep takes over a newer state of the same leader epoch: replicas may have come or gone, and what was proposed on the older state is
// part of this one or will never be. next must have a higher partition epoch than the state before.
func (f *followers) keep(next role, self int32) {
	old := f.progress
	*f = newFollowers(next, self, time.Time{})
	for i := range f.progress {
		if p := find(old, f.progress[i].Broker); p != nil {
			f.progress[i] = *p
		}
	}
}

func find(list []progress, broker int32) *progress {
	for i := range list {
		if list[i].Broker == broker {
			return &list[i]
		}
	}
	return nil
}

// committed is the end of what all members of the set have, and of those that may be in it. A member that has not fetched since it
// registered has nothing.
func (f *followers) committed(isr []metadata.Member, self int32) int64 {
	end := int64(math.MaxInt64)
	for _, set := range [2][]metadata.Member{isr, f.wider} {
		for _, m := range set {
			if m.Broker == self {
				continue
			}
			p := find(f.progress, m.Broker)
			if p == nil || p.Epoch != m.Epoch {
				return 0
			}
			end = min(end, p.end)
		}
	}
	return end
}

// fetchedBy notes that a follower has fetched from an offset at the role's epoch, and so has everything below it, in a log that begins at logStart.
func (p *Partition) fetchedBy(m metadata.Member, r *role, offset, logStart int64) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	if p.role.Load().epoch != r.epoch || !p.role.Load().leader {
		return
	}
	f := find(p.followers.progress, m.Broker)
	if f == nil || m.Epoch < f.Epoch {
		return // not a replica any more, or a process that has a successor
	}
	now, end := time.Now(), p.log.EndOffset()
	if m.Epoch > f.Epoch {
		*f = progress{Member: m, caughtUp: f.caughtUp, logStart: -1}
	}
	if offset >= end {
		f.caughtUp = now
	} else if offset >= f.leaderEnd && f.fetched.After(f.caughtUp) {
		f.caughtUp = f.fetched
	}
	p.learnLocked(f, m.Directory)
	advanced, deleted := offset != f.end, logStart != f.logStart
	f.end, f.logStart, f.fetched, f.leaderEnd = offset, logStart, now, end
	p.expandLocked(f)
	if advanced {
		p.advanceLocked()
	} else if deleted {
		p.watchers.wake()
	}
}

// expandLocked proposes a follower for the in-sync set, once it has all that is committed and all that this leader began with, and has deleted what
// this leader has: as the next leader it would give back what DeleteRecords or retention took away.
func (p *Partition) expandLocked(f *progress) {
	r := p.role.Load()
	at := slices.IndexFunc(r.isr, func(m metadata.Member) bool { return m.Broker == f.Broker })
	switch {
	case at >= 0 && r.isr[at].Epoch == f.Epoch: // it is in sync
		return
	case f.end < p.log.HighWatermark(), f.end < r.epochStart, f.logStart < p.log.StartOffset():
		return
	case p.image != nil && !p.image().ISREligible(f.Member): // it stops, or has another registration
		return
	}
	next := slices.Clone(r.isr)
	if at >= 0 {
		next[at] = f.Member // it has restarted and is back
	} else {
		next = append(next, f.Member)
	}
	p.proposeLocked(next)
}

// shrink proposes to go on without the followers that have not had everything for maxLag. A leader whose disk has failed proposes nothing: its followers
// cannot fetch, and may have all that is committed.
func (p *Partition) shrink(maxLag time.Duration) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	r := p.role.Load()
	if !r.leader || len(r.isr) <= 1 || p.log.Offline() != nil {
		return
	}
	now, end := time.Now(), p.log.EndOffset()
	next := make([]metadata.Member, 0, len(r.isr))
	for _, m := range r.isr {
		f := find(p.followers.progress, m.Broker)
		behind := f != nil && (f.end < end || f.Epoch != m.Epoch) && now.Sub(f.caughtUp) > maxLag
		if m.Broker == p.brokerID || !behind {
			next = append(next, m)
		}
	}
	if len(next) < len(r.isr) {
		p.proposeLocked(next)
	}
}

// proposeLocked has an in-sync set written, unless one is on its way or the present image is known to refuse it.
func (p *Partition) proposeLocked(isr []metadata.Member) {
	f := &p.followers
	if p.isr == nil || f.proposal.open || f.proposal.written {
		return
	}
	isr = p.placedLocked(isr)
	if p.imageRevision() <= f.refused.revision && slices.Equal(isr, f.refused.isr) {
		return
	}
	for _, m := range isr {
		if !slices.Contains(f.wider, m) { // proposed again and again while nobody answers
			f.wider = append(f.wider, m)
		}
	}
	f.proposal = proposal{isr: isr, partitionEpoch: p.role.Load().partitionEpoch, open: true, uncertain: f.proposal.uncertain}
	p.isr.push(p)
}

// pendingISR is the proposal that waits to be written.
func (p *Partition) pendingISR() (metadata.ISRChange, bool) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	r, f := p.role.Load(), &p.followers
	return metadata.ISRChange{
		TopicID: p.topicID, Partition: p.tp.Partition, LeaderEpoch: r.epoch, PartitionEpoch: f.proposal.partitionEpoch, ISR: f.proposal.isr,
	}, r.leader && f.proposal.open
}

// proposed takes the outcome of a proposal. refused: it was not written and never will be; any other error leaves open whether it was.
func (p *Partition) proposed(c metadata.ISRChange, refused bool, err error) {
	p.isrMu.Lock()
	defer p.isrMu.Unlock()
	f := &p.followers
	if r := p.role.Load(); !r.leader || r.epoch != c.LeaderEpoch || !f.proposal.open || f.proposal.partitionEpoch != c.PartitionEpoch {
		return // the image was faster
	}
	switch {
	case err == nil:
		f.proposal.open, f.proposal.written = false, true
	case !refused:
		f.proposal.uncertain = true // and stays open: it is tried again
	default:
		p.refusedLocked()
	}
}

// refusedLocked gives up a proposal. If an earlier attempt at it may have been written, the high watermark waits for that set until an image shows the
// outcome. An image comes for certain only after a write, so the present set is written again: that succeeds if the attempt was lost, and fences it, or
// conflicts with it. A refusal of that write says that the partition has been written, by this attempt or by another broker.
func (p *Partition) refusedLocked() {
	f, r := &p.followers, p.role.Load()
	if p.image != nil {
		f.refused = refusal{isr: f.proposal.isr, revision: p.imageRevision()}
	}
	switch {
	case !f.proposal.uncertain:
		f.proposal, f.wider = proposal{}, nil
		p.advanceLocked()
	case !f.proposal.settles:
		f.proposal = proposal{isr: r.isr, partitionEpoch: r.partitionEpoch, open: true, uncertain: true, settles: true}
		p.isr.push(p)
	default:
		f.proposal.open = false
	}
}
