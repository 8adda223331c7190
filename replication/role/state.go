package role

import (
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
)

// Kind is what this broker is to a partition.
type Kind uint8

const (
	// Absent says that no log is open here. It is the zero value.
	Absent Kind = iota
	// Offline says that the image names no leader, or that no image was followed yet.
	Offline
	// Unregistered says that this broker is elected under a registration that this process does not
	// have: one that it does not know of yet, or one of its predecessor.
	Unregistered
	// Follower says that another broker leads.
	Follower
	// Leader says that this broker leads.
	Leader
	// Gone says that the partition is not this broker's any more. It is the last state.
	Gone
)

// View is what an image says of a partition. What it refers to never changes.
type View struct {
	insync.PartitionState

	// Leader is the broker that leads, and the broker epoch that it was elected under. Its Broker
	// is metadata.NoBroker if there is none.
	Leader metadata.Member
	// LossyEpoch is the leader epoch of the newest election that may have lost records, 0 if there
	// was none: the remote tier may have what the leaders from then on lack.
	LossyEpoch int32
}

// ViewOf is the view of a partition's state. It shares the state's slices.
func ViewOf(p *metadata.Partition) View {
	return View{
		PartitionState: insync.PartitionState{
			LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
			ISR: p.Members(), Eligible: p.EligibleMembers(), Replicas: p.Replicas,
		},
		Leader:     metadata.Member{Broker: p.Leader, Epoch: p.LeaderBrokerEpoch},
		LossyEpoch: max(p.LossyEpoch, p.UncleanEpoch),
	}
}

// olderThan reports whether a view is of the past of another one. A new leader epoch has a new
// partition epoch too.
func (v *View) olderThan(o *View) bool {
	return v.LeaderEpoch < o.LeaderEpoch || v.LeaderEpoch == o.LeaderEpoch && v.PartitionEpoch < o.PartitionEpoch
}

// sameAs reports whether two views are of the same state: every write raises the partition epoch.
func (v *View) sameAs(o *View) bool {
	return v.LeaderEpoch == o.LeaderEpoch && v.PartitionEpoch == o.PartitionEpoch &&
		v.Leader.Broker == o.Leader.Broker && v.Leader.Epoch == o.Leader.Epoch
}

// State is what this broker is to a partition. It never changes; it is replaced by what [Step]
// returns. The zero value is that of a partition without a log here.
type State struct {
	Kind Kind
	View // of the newest image that was followed
	// LeaderEpochStartOffset is, of a Leader, the log's end when its leader epoch began.
	LeaderEpochStartOffset int64
}

// Leads reports whether this broker leads the partition.
func (s *State) Leads() bool { return s.Kind == Leader }

// Suspect reports whether this broker leads with a log that may lack records which the remote tier
// has.
func (s *State) Suspect() bool { return s.Kind == Leader && s.LossyEpoch > 0 }

// LeadsAt reports whether this broker leads the partition at a leader epoch.
func (s *State) LeadsAt(leaderEpoch int32) bool {
	return s.Kind == Leader && s.LeaderEpoch == leaderEpoch
}

// IsGone reports whether the partition is not this broker's any more.
func (s *State) IsGone() bool { return s.Kind == Gone }

// ReplicatesAt reports whether the log may take over what the leader of a leader epoch has.
func (s *State) ReplicatesAt(leaderEpoch int32) bool {
	switch s.Kind {
	case Offline, Unregistered, Follower:
		return s.LeaderEpoch == leaderEpoch
	default:
		return false
	}
}
