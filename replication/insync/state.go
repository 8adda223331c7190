package insync

import (
	"slices"
	"time"

	"github.com/varvelog/varve/metadata"
)

// State is what a leader knows about its replicas. The zero value belongs to a broker that does not
// lead. Only [Step] changes it.
type State struct {
	lead          *leadership // nil: this broker does not lead
	set           Set         // nil: this broker does not lead
	refused       *refusal    // the newest refused proposal, nil if none
	followers     []Follower  // in the order of the replicas
	highWatermark int64
}

// leadership stays the same between images and changes of settings. It is never modified, only
// replaced.
type leadership struct {
	PartitionState

	settings               Settings
	self                   int32
	proposes               bool
	leaderEpochStartOffset int64
}

// PartitionState is what an image says about a partition. The slices that it refers to never
// change.
type PartitionState struct {
	LeaderEpoch, PartitionEpoch int32
	ISR                         []metadata.Member // includes the leader
	Eligible                    []metadata.Member // the ELR: each of them may be elected
	Replicas                    []int32
}

// Needed returns how many replicas must be in sync for a record to be committed:
// min.insync.replicas, capped by the number of replicas.
func (p *PartitionState) Needed(minInSync int) int { return min(minInSync, len(p.Replicas)) }

// EnoughInSync reports whether records can be committed. They cannot while a replica is eligible
// (KIP-966). Thus every replica that may be elected has all committed records, whatever minimum the
// broker that maintains the ELR assumes.
func (p *PartitionState) EnoughInSync(minInSync int) bool {
	return len(p.Eligible) == 0 && len(p.ISR) >= p.Needed(minInSync)
}

// Settings are the topic settings that the protocol obeys.
type Settings struct {
	MinInSyncReplicas int
	// FlushFirst holds the high watermark back until the leader has synced.
	FlushFirst bool
}

// Follower is the progress of one replica. It starts over at every leader epoch: what a replica had
// earlier says nothing about what it has now.
type Follower struct {
	metadata.Member                       // as of its newest fetch; Epoch 0: no fetch yet
	End                         int64     // it has everything below; -1: unknown
	LogStart                    int64     // its log start offset; -1: unknown
	lastCaughtUpTime            time.Time // when it last had caught up with the leader's end
	lastFetchTime               time.Time // zero: never
	lastFetchLeaderLogEndOffset int64     // the leader's log end at that fetch
}

// Set is the state of the ISR: [Committed], [Pending], [Written] or [Unsettled].
type Set interface {
	// maximalISR returns the maximal ISR; isr is the committed one.
	maximalISR(isr []metadata.Member) []metadata.Member
	// inflight reports whether no further proposal may be made.
	inflight() bool
}

// Committed means that the image's ISR is the only one that counts.
type Committed struct{}

func (Committed) maximalISR(isr []metadata.Member) []metadata.Member { return isr }
func (Committed) inflight() bool                                     { return false }

// Pending is a proposal in flight. It may have been written at any time since it was made.
type Pending struct {
	Proposal   Proposal
	MaximalISR []metadata.Member
	// Uncertain means that an attempt on the same partition epoch, this one or an earlier one, may
	// have been written, and the outcome is unknown.
	Uncertain bool
	// Settles means that the proposal repeats the committed ISR, to get a definite answer.
	Settles bool
}

func (p *Pending) maximalISR([]metadata.Member) []metadata.Member { return p.MaximalISR }
func (*Pending) inflight() bool                                   { return true }

// Written is a proposal that was written. An image will show it.
type Written struct{ MaximalISR []metadata.Member }

func (w *Written) maximalISR([]metadata.Member) []metadata.Member { return w.MaximalISR }
func (*Written) inflight() bool                                   { return true }

// Unsettled means that the partition was written, by an attempt with an unknown outcome or by
// another broker. An image will show which; until then more may be proposed.
type Unsettled struct{ MaximalISR []metadata.Member }

func (u *Unsettled) maximalISR([]metadata.Member) []metadata.Member { return u.MaximalISR }
func (*Unsettled) inflight() bool                                   { return false }

// Proposal is an ISR to be written by compare-and-swap on the epochs that it is based on.
type Proposal struct {
	LeaderEpoch, PartitionEpoch int32
	ISR                         []metadata.Member
}

// refusal records a refused ISR. It would be refused again on the image that was the newest then.
type refusal struct {
	isr      []metadata.Member
	revision int64
}

// Set returns the state of the ISR, nil on a broker that does not lead.
func (s *State) Set() Set { return s.set }

// Open returns the proposal that waits for an answer.
func (s *State) Open() (Proposal, bool) {
	if p, ok := s.set.(*Pending); ok {
		return p.Proposal, true
	}
	return Proposal{}, false
}

// MaximalISR returns the members that are in sync or may be, one for each broker and epoch, those
// of the committed ISR first. The caller must not modify it.
func (s *State) MaximalISR() []metadata.Member {
	if s.lead == nil {
		return nil
	}
	return s.set.maximalISR(s.lead.ISR)
}

// MayLead reports whether a replica can be elected as it is, even if its broker is dead now: it is
// in the maximal ISR, or eligible.
func (s *State) MayLead(broker int32) bool {
	is := func(m metadata.Member) bool { return m.Broker == broker }
	return s.lead != nil && (slices.ContainsFunc(s.MaximalISR(), is) || slices.ContainsFunc(s.lead.Eligible, is))
}

// Followers returns the other replicas, none on a broker that does not lead. The slice is valid
// until the next event, and must not be modified.
func (s *State) Followers() []Follower { return s.followers }

// Follower returns one of the other replicas, nil if there is no such replica. It is valid until
// the next event, and must not be modified.
func (s *State) Follower(broker int32) *Follower {
	for i := range s.followers {
		if s.followers[i].Broker == broker {
			return &s.followers[i]
		}
	}
	return nil
}

// with returns the members of set, and after them those of more that set does not contain.
func with(set, more []metadata.Member) []metadata.Member {
	set = slices.Clip(set)
	for _, m := range more {
		if !contains(set, m) {
			set = append(set, m)
		}
	}
	return set
}

// contains reports whether a broker is a member at an epoch, wherever its log is.
func contains(set []metadata.Member, m metadata.Member) bool {
	return slices.ContainsFunc(set, func(o metadata.Member) bool {
		return o.Broker == m.Broker && o.Epoch == m.Epoch
	})
}
