package insync

import (
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

// State is what a leader knows of its replicas. The zero value is that of a broker that does not
// lead. Only [Step] changes it.
type State struct {
	lead          *leadership // nil: it does not lead
	set           Set         // of a leader
	refused       *refusal    // may be nil
	followers     []Follower  // in the order of the replicas
	highWatermark int64       // the high watermark
}

// leadership is what stays from one image or change of settings to the next. It never changes; it
// is replaced.
type leadership struct {
	PartitionState

	settings               Settings
	self                   int32
	proposes               bool
	leaderEpochStartOffset int64
}

// PartitionState is what an image says of a partition. What it refers to never changes.
type PartitionState struct {
	LeaderEpoch, PartitionEpoch int32
	ISR                         []metadata.Member // the leader among them
	Eligible                    []metadata.Member // the ELR: each may be elected
	Replicas                    []int32
}

// Needed is how many replicas must be in sync for a record to be committed: min.insync.replicas,
// as far as there are so many.
func (p *PartitionState) Needed(minInSync int) int { return min(minInSync, len(p.Replicas)) }

// EnoughInSync reports whether records can be committed. While a replica is eligible they cannot
// (KIP-966): one that may be elected then has all that is committed, whatever the broker that keeps
// the eligible replicas takes for the minimum.
func (p *PartitionState) EnoughInSync(minInSync int) bool {
	return len(p.Eligible) == 0 && len(p.ISR) >= p.Needed(minInSync)
}

// Settings are those of the topic that the protocol heeds.
type Settings struct {
	MinInSyncReplicas int
	// FlushFirst holds the high watermark back until the leader has synced.
	FlushFirst bool
}

// Follower is how far one replica is. It begins at every leader epoch: what a replica had before
// says nothing of what it has now.
type Follower struct {
	metadata.Member                       // as of its newest fetch; Epoch 0: none yet
	End                         int64     // it has everything below; -1: not known
	LogStart                    int64     // its log begins there; -1: not known
	lastCaughtUpTime            time.Time // when it last had everything that there was
	lastFetchTime               time.Time // when it last fetched
	lastFetchLeaderLogEndOffset int64     // the leader's end then
}

// Set is the state of the in-sync set: [Committed], [Pending], [Written] or [Unsettled].
type Set interface {
	// maximalISR is the maximal set, isr the committed one.
	maximalISR(isr []metadata.Member) []metadata.Member
	// inflight reports that nothing may be proposed.
	inflight() bool
}

// Committed says that the image's set is the in-sync set, and no other.
type Committed struct{}

func (Committed) maximalISR(isr []metadata.Member) []metadata.Member { return isr }
func (Committed) inflight() bool                                     { return false }

// Pending is a proposal on its way. It may have been written at any time since it was made.
type Pending struct {
	Proposal   Proposal
	MaximalISR []metadata.Member
	// Uncertain says that an attempt may have been written, this one or an earlier one on the same
	// partition epoch, and nobody knows.
	Uncertain bool
	// Settles says that it is the committed set, proposed for an answer that is definite.
	Settles bool
}

func (p *Pending) maximalISR([]metadata.Member) []metadata.Member { return p.MaximalISR }
func (*Pending) inflight() bool                                   { return true }

// Written is a proposal that was written. An image will show it.
type Written struct{ MaximalISR []metadata.Member }

func (w *Written) maximalISR([]metadata.Member) []metadata.Member { return w.MaximalISR }
func (*Written) inflight() bool                                   { return true }

// Unsettled says that the partition was written, by an attempt whose outcome is not known or by
// another broker. An image will show what; until then more may be proposed.
type Unsettled struct{ MaximalISR []metadata.Member }

func (u *Unsettled) maximalISR([]metadata.Member) []metadata.Member { return u.MaximalISR }
func (*Unsettled) inflight() bool                                   { return false }

// Proposal is an in-sync set to be written by compare-and-swap on the epochs that it rests on.
type Proposal struct {
	LeaderEpoch, PartitionEpoch int32
	ISR                         []metadata.Member
}

// refusal is a set that was refused. It would be again on the image that was the newest then.
type refusal struct {
	isr      []metadata.Member
	revision int64
}

// Set is the state of the in-sync set, nil at a broker that does not lead.
func (s *State) Set() Set { return s.set }

// Open is the proposal that waits for an answer.
func (s *State) Open() (Proposal, bool) {
	if p, ok := s.set.(*Pending); ok {
		return p.Proposal, true
	}
	return Proposal{}, false
}

// MaximalISR are the members that are in sync or may be, one for each broker and epoch, that of the
// committed set first. It is not to be changed.
func (s *State) MaximalISR() []metadata.Member {
	if s.lead == nil {
		return nil
	}
	return s.set.maximalISR(s.lead.ISR)
}

// MayLead reports that a replica can be elected as it is, even if its broker is dead now: it is in
// the maximal set, or eligible.
func (s *State) MayLead(broker int32) bool {
	is := func(m metadata.Member) bool { return m.Broker == broker }
	return s.lead != nil && (slices.ContainsFunc(s.MaximalISR(), is) || slices.ContainsFunc(s.lead.Eligible, is))
}

// Followers are the other replicas, none at a broker that does not lead. The slice is good until
// the next event, and not to be changed.
func (s *State) Followers() []Follower { return s.followers }

// Follower is one of the other replicas, nil if there is no such one. It is good until the next
// event, and not to be changed.
func (s *State) Follower(broker int32) *Follower {
	for i := range s.followers {
		if s.followers[i].Broker == broker {
			return &s.followers[i]
		}
	}
	return nil
}

// with is a set of members and those of another one that it lacks.
func with(set, more []metadata.Member) []metadata.Member {
	set = slices.Clip(set)
	for _, m := range more {
		if !contains(set, m) {
			set = append(set, m)
		}
	}
	return set
}

// contains reports whether a broker is a member at an epoch, wherever it has its log.
func contains(set []metadata.Member, m metadata.Member) bool {
	return slices.ContainsFunc(set, func(o metadata.Member) bool {
		return o.Broker == m.Broker && o.Epoch == m.Epoch
	})
}
