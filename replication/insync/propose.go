package insync

import (
	"slices"

	"github.com/varvelog/varve/metadata"
)

// propose proposes an ISR, unless a proposal is in flight or the newest image is known to refuse
// this one.
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

// pend makes p the proposal in flight.
func (s *State) pend(p *Pending, effects *Effects) {
	s.set, effects.Proposal = p, &p.Proposal
}

// proposal returns a proposal based on the present state.
func (s *State) proposal(isr []metadata.Member) Proposal {
	return Proposal{
		LeaderEpoch: s.lead.LeaderEpoch, PartitionEpoch: s.lead.PartitionEpoch, ISR: isr,
	}
}

// answered handles the outcome of the proposal in flight. An outcome of a proposal that is based on
// another state is ignored: an image has overtaken it.
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
// waits for the members of its set until an image shows the outcome. Only a write is certain to
// bring an image, so the committed ISR is written again. If the earlier attempt was lost, this
// write succeeds and fences it; if not, this write conflicts with it. A refusal of this write
// proves that the partition was written, by the attempt or by another broker.
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

// placed returns an ISR with the directories that its members have reported.
func (s *State) placed(isr []metadata.Member, own metadata.DirectoryID) []metadata.Member {
	isr = slices.Clone(isr)
	for i := range isr {
		isr[i].Directory = s.directory(isr[i], own)
	}
	return isr
}

// directory returns where a member's log is as the member reports it, or the directory in m if the
// member has reported nothing.
func (s *State) directory(m metadata.Member, own metadata.DirectoryID) metadata.DirectoryID {
	if m.Broker == s.lead.self {
		return own
	}
	if f := s.Follower(m.Broker); f != nil && f.Epoch == m.Epoch && f.End >= 0 {
		return f.Directory
	}
	return m.Directory
}

// unplaced reports whether the image names other directories than the members do.
func (s *State) unplaced(own metadata.DirectoryID) bool {
	return slices.ContainsFunc(s.lead.ISR, func(m metadata.Member) bool {
		return s.directory(m, own) != m.Directory
	})
}

// misplaced reports whether the image has a follower in sync and names another directory for its
// log than the follower does.
func (s *State) misplaced(f *Follower) bool {
	for _, m := range s.lead.ISR {
		if m.Broker == f.Broker && m.Epoch == f.Epoch && m.Directory != f.Directory {
			return true
		}
	}
	return false
}
