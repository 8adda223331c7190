package role

import (
	"slices"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/insync"
)

// Kind is what this broker is to a partition.
type Kind uint8

const (
	// Absent means that no log is open here. It is the zero value.
	Absent Kind = iota
	// Offline means that the image names no leader, or that no image has been followed yet.
	Offline
	// Unregistered means that this broker is elected under a registration that this process does
	// not have: one that it does not know of yet, or one of an earlier process.
	Unregistered
	// Follower means that another broker leads.
	Follower
	// Leader means that this broker leads.
	Leader
	// Gone means that the partition has left this broker. It is the last state.
	Gone
)

// View is what an image says about a partition. The slices that it refers to never change.
type View struct {
	insync.PartitionState

	// Leader is the leading broker with the broker epoch under which it was elected. Its Broker is
	// metadata.NoBroker if there is none.
	Leader metadata.Member
	// LossyEpoch is the leader epoch of the newest election that may have lost records, 0 if there
	// was none. The remote tier may have records that the leaders since then lack.
	LossyEpoch int32
}

// ViewOf returns the view of a partition's state. It shares the state's slices.
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

// InSync reports whether the ISR has a broker, under whatever registration.
func (v *View) InSync(broker int32) bool {
	return slices.ContainsFunc(v.ISR, func(m metadata.Member) bool { return m.Broker == broker })
}

// olderThan reports whether v precedes o. A new leader epoch always comes with a new partition
// epoch.
func (v *View) olderThan(o *View) bool {
	return v.LeaderEpoch < o.LeaderEpoch || v.LeaderEpoch == o.LeaderEpoch && v.PartitionEpoch < o.PartitionEpoch
}

// sameAs reports whether two views show the same state: every write raises the partition epoch.
func (v *View) sameAs(o *View) bool {
	return v.LeaderEpoch == o.LeaderEpoch && v.PartitionEpoch == o.PartitionEpoch &&
		v.Leader.Broker == o.Leader.Broker && v.Leader.Epoch == o.Leader.Epoch
}

// State is what this broker is to a partition. It never changes: a result of [Step] replaces it.
// The zero value is a partition without a log here.
type State struct {
	Kind Kind
	View // of the newest image that was followed
	// LeaderEpochStartOffset is the log end offset at which a Leader's epoch began.
	LeaderEpochStartOffset int64
}

// Leads reports whether this broker leads the partition.
func (s *State) Leads() bool { return s.Kind == Leader }

// Suspect reports whether this broker leads with a log that may lack records that the remote tier
// has.
func (s *State) Suspect() bool { return s.Kind == Leader && s.LossyEpoch > 0 }

// LeadsAt reports whether this broker leads the partition at a leader epoch.
func (s *State) LeadsAt(leaderEpoch int32) bool {
	return s.Kind == Leader && s.LeaderEpoch == leaderEpoch
}

// IsGone reports whether the partition has left this broker.
func (s *State) IsGone() bool { return s.Kind == Gone }

// ReplicatesAt reports whether the log may append what the leader of a leader epoch sends.
func (s *State) ReplicatesAt(leaderEpoch int32) bool {
	switch s.Kind {
	case Offline, Unregistered, Follower:
		return s.LeaderEpoch == leaderEpoch
	default:
		return false
	}
}
