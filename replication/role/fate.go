package role

// Fate is what happens to a log that an image does not have on this broker.
type Fate uint8

const (
	// Keep leaves the log as it is.
	Keep Fate = iota
	// KeepAll leaves the log, and retention must not delete anything in it: the topic's settings
	// cannot be read.
	KeepAll
	// SetAside keeps the log where `varve log strays` shows it.
	SetAside
	// Delete deletes the log.
	Delete
)

// The reasons why a log is set aside, as `varve log strays` shows them.
const (
	NoTopic  = "the cluster has no topic with this id"
	Renamed  = "another topic has its name"
	OnOthers = "the cluster has this partition on other brokers"
	WentBack = "the cluster has this partition on other brokers, by a state that is not newer than the one before"
)

// Absence describes how a partition that is here is missing in an image.
type Absence struct {
	Incomplete bool // a part of the metadata could not be read: what is missing may exist
	HasTopic   bool // the image has the topic

	// Without the topic:
	Vanished  bool // it was missing in a full listing, and no event has reported its deletion
	NameTaken bool // another topic has its name

	// With the topic:
	Elsewhere      bool  // the image has the partition on other brokers only
	PartitionEpoch int32 // of the state that has it there
}

// Fate returns what happens to the partition's log, and the reason if the log is set aside. A
// partition leaves the broker unless its log is kept.
func (s *State) Fate(a Absence) (fate Fate, why string) {
	switch {
	case a.HasTopic && !a.Elsewhere:
		return Keep, "" // the partition is here, or the image does not have its state yet
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

// Stray describes a log on disk that has no partition, and how an image knows it.
type Stray struct {
	Incomplete bool // see Absence
	HasName    bool // the image has a topic with the log's topic name
	// SameTopic means that the image's topic is the log's topic. It is also true for a log without
	// a topic id: a crash lost the id's file, and only the name is left to compare.
	SameTopic bool
	Elsewhere bool // the image has the partition on other brokers only
}

// Fate returns what happens to the log, and the reason if it is set aside. A stray is never
// deleted: no event has deleted it.
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
