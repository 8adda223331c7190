package role

// Fate is what becomes of a log of which an image does not say that it is here.
type Fate uint8

const (
	// Keep says that it stays as it is.
	Keep Fate = iota
	// KeepAll says that it stays, and that retention must delete nothing of it: the topic's
	// settings cannot be read.
	KeepAll
	// SetAside says that it is kept where `varve log strays` shows it.
	SetAside
	// Delete says that it is deleted.
	Delete
)

// Why a log is set aside, as `varve log strays` shows it.
const (
	NoTopic  = "the cluster has no topic with this id"
	Renamed  = "another topic has its name"
	OnOthers = "the cluster has this partition on other brokers"
	WentBack = "the cluster has this partition on other brokers, by a state that is not newer than the one before"
)

// Absence is how an image lacks a partition that is here.
type Absence struct {
	Incomplete bool // a part of the metadata could not be read: what is missing may exist
	HasTopic   bool // the image has the topic

	// Without the topic:
	Vanished  bool // it was missing in a list, and no event has said that it was deleted
	NameTaken bool // another topic has its name

	// With the topic:
	Elsewhere      bool  // the image has the partition, on other brokers
	PartitionEpoch int32 // of the state that says so
}

// Fate is what becomes of the partition's log, and why, if it is set aside. A partition that is not
// kept leaves the broker.
func (s *State) Fate(a Absence) (fate Fate, why string) {
	switch {
	case a.HasTopic && !a.Elsewhere:
		return Keep, "" // it is here, or the image does not have its state yet
	case a.HasTopic && a.PartitionEpoch <= s.PartitionEpoch:
		return SetAside, WentBack
	case a.HasTopic:
		return Delete, ""
	case !a.Incomplete && !a.Vanished:
		return Delete, "" // an event has deleted the topic
	case a.NameTaken:
		return SetAside, Renamed
	case a.Incomplete:
		return Keep, ""
	default:
		return SetAside, NoTopic
	}
}

// Stray is a log on the disk that no partition has, and how an image knows it.
type Stray struct {
	Incomplete bool // see Absence
	HasName    bool // the image has a topic of the log's topic name
	// SameTopic says that this is the log's topic. So it is if the log has no topic id: a crash
	// took the file, and the name is all that there is.
	SameTopic bool
	Elsewhere bool // the image has the partition, on other brokers
}

// Fate is what becomes of the log, and why, if it is set aside. It is never deleted: no event has
// said so.
func (s Stray) Fate() (fate Fate, why string) {
	switch {
	case !s.HasName && s.Incomplete:
		return KeepAll, ""
	case !s.HasName:
		return SetAside, NoTopic
	case !s.SameTopic:
		return SetAside, Renamed
	case s.Elsewhere:
		return SetAside, OnOthers
	default:
		return Keep, ""
	}
}
