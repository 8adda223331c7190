package insync

import (
	"slices"

	"github.com/varvelog/varve/metadata"
)

// propose has a set written, unless one is on its way or the newest image is known to refuse it.
func (s *State) propose(isr []metadata.Member, now Now, effects *Effects) {
	if !s.lead.proposes || s.set.inflight() {
		return
	}
	isr = s.placed(isr, now.Directory)
	if r := s.refused; r != nil && revision(now.Image) <= r.revision && slices.Equal(isr, r.isr) {
		return
	}
	_, unsettled := s.set.(*Unsettled)
	s.pend(&Pending{Proposal: s.proposal(isr), MaximalISR: with(s.MaximalISR(), isr), Uncertain: unsettled}, effects)
}

// pend makes a proposal the one that is on its way.
func (s *State) pend(p *Pending, effects *Effects) {
	s.set, effects.Proposal = p, &p.Proposal
}

// proposal is a set that rests on the present state.
func (s *State) proposal(isr []metadata.Member) Proposal {
	return Proposal{
		LeaderEpoch: s.lead.LeaderEpoch, PartitionEpoch: s.lead.PartitionEpoch, ISR: isr,
	}
}

// answered takes the outcome of the proposal that is on its way. One that rests on another state
// comes too late: the image was faster.
func (s *State) answered(e *ProposalAnswered, effects *Effects) {
	p, pending := s.set.(*Pending)
	if !pending || p.Proposal.LeaderEpoch != e.Proposal.LeaderEpoch ||
		p.Proposal.PartitionEpoch != e.Proposal.PartitionEpoch {
		return
	}
	switch e.Outcome {
	case WasWritten:
		s.set = &Written{p.MaximalISR}
	case WasUncertain:
		next := *p
		next.Uncertain = true
		s.set = &next
	case WasRefused:
		s.wasRefused(p, e, effects)
	}
}

// wasRefused gives up a proposal. If an earlier attempt may have been written, the high watermark
// waits for its set until an image shows the outcome. An image comes for certain only after a
// write, so the committed set is written again: that succeeds if the attempt was lost, and fences
// it, or conflicts with it. A refusal of that write says that the partition has been written, by
// the attempt or by another broker.
func (s *State) wasRefused(p *Pending, e *ProposalAnswered, effects *Effects) {
	if e.Image != nil {
		s.refused = &refusal{isr: p.Proposal.ISR, revision: e.Image.Revision}
	}
	switch {
	case !p.Uncertain:
		s.set = Committed{}
		s.maybeIncrementHighWatermark(e.Log, effects)
	case !p.Settles:
		s.pend(&Pending{
			Proposal: s.proposal(s.lead.ISR), MaximalISR: p.MaximalISR, Uncertain: true, Settles: true,
		}, effects)
	default:
		s.set = &Unsettled{p.MaximalISR}
	}
}

// placed is an in-sync set with the directories that its members have said.
func (s *State) placed(isr []metadata.Member, own metadata.DirectoryID) []metadata.Member {
	isr = slices.Clone(isr)
	for i := range isr {
		isr[i].Directory = s.directory(isr[i], own)
	}
	return isr
}

// directory is where a member says that its log is, or where it was proposed if it says nothing.
func (s *State) directory(m metadata.Member, own metadata.DirectoryID) metadata.DirectoryID {
	if m.Broker == s.lead.self {
		return own
	}
	if f := s.Follower(m.Broker); f != nil && f.Epoch == m.Epoch && f.End >= 0 {
		return f.Directory
	}
	return m.Directory
}

// unplaced reports that the image names other directories than the members do.
func (s *State) unplaced(own metadata.DirectoryID) bool {
	return slices.ContainsFunc(s.lead.ISR, func(m metadata.Member) bool {
		return s.directory(m, own) != m.Directory
	})
}

// misplaced reports that the image has a follower in sync and names another directory for its log
// than the follower does.
func (s *State) misplaced(f *Follower) bool {
	for _, m := range s.lead.ISR {
		if m.Broker == f.Broker && m.Epoch == f.Epoch && m.Directory != f.Directory {
			return true
		}
	}
	return false
}
