package metadata

import (
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// NoBroker is the broker id that means "no broker".
const NoBroker int32 = -1

// Image is the cluster's state as of one revision. It never changes: readers may keep it for any
// time, and must not write to anything that they reach through it. The Loader makes the next one.
type Image struct {
	// Revision is the newest revision whose changes are all in the image.
	Revision int64
	// ContentRevision is the newest revision that changed what an image shows. Two images
	// with the same ContentRevision show the same. Tier pointers, which change with each
	// segment, are not part of the image and change Revision only.
	ContentRevision int64
	ClusterID       string
	// ControllerID is the broker that is the controller now, or NoBroker. ControllerEpoch is the
	// revision at which it was elected, 0 without a controller.
	ControllerID    int32
	ControllerEpoch int64
	// Brokers are the live brokers by id: those that hold a registration. KRaft calls them
	// unfenced.
	Brokers map[int32]Broker
	// Known are the brokers that can be given replicas: the seeds, and every broker that has ever
	// registered, until Admin.UnregisterBroker. Those that are not in Brokers are fenced. A known
	// broker has its ID and, once it has registered, Rack, Listeners and Features.
	Known map[int32]Broker
	// Features are the finalized feature levels.
	Features FinalizedFeatures

	// ControllerBrokerEpoch is the broker epoch of the controller's registration, 0 without one.
	ControllerBrokerEpoch int64

	byName        table[string, *Topic]
	byID          table[TopicID, *Topic] // by id, pending topics too: those have no name
	topicConfigs  table[string, map[string]string]
	brokerConfigs map[string]map[string]string // by broker id or defaultBroker

	// brokersAt and brokerConfigsAt are the newest revisions that changed Brokers and
	// brokerConfigs.
	brokersAt, brokerConfigsAt int64

	unfinished map[TopicID]unfinished // markers of changes in progress

	unread   map[string]unreadableKey // by key, see Incomplete
	vanished map[TopicID]bool         // see Vanished
}

// Broker is a live broker or, in Image.Known, a known one.
type Broker struct {
	ID int32
	// Epoch is the broker epoch, the create revision of the registration. A broker that registers
	// again gets a higher one.
	Epoch int64
	// Incarnation is drawn at random by each process.
	Incarnation string
	// DirectoryID is the id of one of the data directories. One process at a time can hold it.
	DirectoryID string
	// Directories are the data directories that work, as the broker last reported them.
	Directories []DirectoryID
	Rack        string
	Listeners   []Listener
	StartedAt   time.Time
	// PreviousBrokerEpoch is the broker epoch of the last registration whose logs this one has
	// without a loss: the broker stopped cleanly, or only its process crashed. It is 0 if the
	// machine may have crashed.
	PreviousBrokerEpoch int64
	// KeptBrokerEpoch is the oldest broker epoch since which the directories that are not in
	// LostSinceKept have lost nothing, 0 if there is none. Several processes may have ended since,
	// one after the other, and no other broker may have seen the registrations of some of them.
	KeptBrokerEpoch int64
	LostSinceKept   []DirectoryID
	// LostDirectories are the directories to which PreviousBrokerEpoch does not apply: the broker
	// had them then, and they are gone, have failed since, or may be missing records.
	LostDirectories []DirectoryID
	// LostBrokerEpoch is the newest broker epoch at which the broker had a directory that it has
	// lost since, or 0. A log of that epoch or an older one may be lost if its directory is not
	// known. It is Epoch if a directory has failed since the registration.
	LostBrokerEpoch int64
	// InControlledShutdown reports that the broker is about to stop. It stays leader or in sync
	// only where no other replica can take over.
	InControlledShutdown bool
	// Features are the levels that the broker supports: read only.
	Features map[string]FeatureRange
	// Lease is the lease that the registration's key is under.
	Lease kv.LeaseID
}

// Listener is one address that a broker advertises.
type Listener struct {
	Name     string `json:"name"`
	Host     string `json:"host"`
	Port     int32  `json:"port"`
	Protocol string `json:"protocol"` // as in Kafka: PLAINTEXT, SSL, …
}

// Address returns host:port.
func (l Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))) }

// Listener finds one of the broker's listeners by its name.
func (b Broker) Listener(name string) (Listener, bool) {
	i := slices.IndexFunc(b.Listeners, func(l Listener) bool { return l.Name == name })
	if i < 0 {
		return Listener{}, false
	}
	return b.Listeners[i], true
}

// Topic is a topic of an image.
type Topic struct {
	Name string
	ID   TopicID
	// Partitions are indexed by partition number: read only. A partition that has not changed is
	// the same pointer in the next image.
	Partitions []*Partition
	// Epoch is the revision that created the topic's key. Revision is the one that last wrote it,
	// which changed its number of partitions.
	Epoch, Revision int64

	createdMs int64
	count     int32        // the number of partitions in the topic's key
	all       []*Partition // Partitions, and after them the keys that no topic key counts yet
	present   int          // how many of all have a key
	kept                   // fields of the topic's key
}

// Partition is the state of one partition.
type Partition struct {
	// Replicas are in order of preference: the first is the preferred leader.
	Replicas []int32
	// ISR are the in-sync replicas, in no particular order. It is never empty: the last member
	// stays in it, dead or alive.
	ISR []int32
	// ISREpochs are the broker epochs of the members, parallel to ISR. A broker with another epoch
	// is not a member. ISRDirectories are the directories of their logs, in the same order; the
	// list is shorter or nil if some are not known. Members joins all three.
	ISREpochs      []int64
	ISRDirectories []DirectoryID
	// Adding and Removing are the replicas that the reassignment in progress adds and removes.
	Adding, Removing []int32
	// ELR are the eligible leader replicas (KIP-966): they left the ISR while it was below the
	// minimum, or by leaving took it below. They have all committed records as long as it is below.
	// ELREpochs and ELRDirectories are like those of the ISR.
	ELR            []int32
	ELREpochs      []int64
	ELRDirectories []DirectoryID
	// Leader is the elected broker, or NoBroker. It may be dead: see Image.Leader.
	Leader int32
	// LeaderEpoch grows with every election and when replicas are removed, never otherwise.
	LeaderEpoch int32
	// UncleanEpoch is the leader epoch of the newest unclean election, or 0. The leader of
	// that epoch may have lacked committed records.
	UncleanEpoch int32
	// LossyEpoch is the leader epoch of the newest election of a replica that may be missing
	// records, or 0: an unclean election, or that of a leader whose machine has crashed. The remote
	// tier may have records that the leaders of this epoch and later ones do not have.
	LossyEpoch int32
	// LeaderBrokerEpoch is the broker epoch under which the leader was elected. A broker with
	// another epoch does not lead: see Image.Leader.
	LeaderBrokerEpoch int64
	// PartitionEpoch grows with every change of the partition.
	PartitionEpoch int32
	// Revision is the revision that wrote the partition's key, for compare-and-swap. Zero: the key
	// is missing.
	Revision int64

	createdMs int64
	kept
}

func newImage() *Image {
	return &Image{
		ControllerID:  NoBroker,
		Brokers:       map[int32]Broker{},
		Known:         map[int32]Broker{},
		byName:        newTable[string, *Topic](hashName),
		byID:          newTable[TopicID, *Topic](hashID),
		topicConfigs:  newTable[string, map[string]string](hashName),
		brokerConfigs: map[string]map[string]string{},
		unfinished:    map[TopicID]unfinished{},
		unread:        map[string]unreadableKey{},
	}
}

// TopicByName returns the topic of that name, false if it does not exist.
func (m *Image) TopicByName(name string) (*Topic, bool) {
	return m.byName.get(name)
}

// TopicByID returns the topic with that id, false if it does not exist.
func (m *Image) TopicByID(id TopicID) (*Topic, bool) {
	t, ok := m.byID.get(id)
	if !ok || t.pending() {
		return nil, false
	}
	return t, true
}

// Topics yields all topics in no particular order.
func (m *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range m.byName.all() {
			if !yield(t) {
				return
			}
		}
	}
}

// TopicCount returns the number of topics.
func (m *Image) TopicCount() int { return m.byName.len() }

// TopicNames returns the names of all topics in ascending order.
func (m *Image) TopicNames() []string {
	names := make([]string, 0, m.byName.len())
	for name := range m.byName.all() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Partition returns a partition's state, which is part of the image: read only.
func (m *Image) Partition(tp TopicPartition) (*Partition, bool) {
	t, ok := m.byName.get(tp.Topic)
	if !ok {
		return nil, false
	}
	return t.Partition(tp.Partition)
}

// Partition returns the partition of that number, which is part of the image: read only.
func (t *Topic) Partition(number int32) (*Partition, bool) {
	if number < 0 || int(number) >= len(t.Partitions) {
		return nil, false
	}
	return t.Partitions[number], true
}

// CreatedMs returns when the topic was created, in Unix ms.
func (t *Topic) CreatedMs() int64 { return t.createdMs }

// Leader returns the partition's leader. It returns false if the leader is fenced, has
// registered again since its election, or has a failed directory where the log is.
func (m *Image) Leader(p *Partition) (Broker, bool) {
	b, ok := m.Brokers[p.Leader]
	if !ok || b.Epoch != p.LeaderBrokerEpoch {
		return Broker{}, false
	}
	for i, id := range p.ISR {
		if id == p.Leader && i < len(p.ISRDirectories) && !b.has(p.ISRDirectories[i]) {
			return Broker{}, false
		}
	}
	return b, true
}

// IsFenced reports whether a broker holds no registration. Such a broker can be given replicas if
// it is known, and leads no partition.
func (m *Image) IsFenced(broker int32) bool {
	_, live := m.Brokers[broker]
	return !live
}

// BrokerIDs returns the ids of the live brokers in ascending order.
func (m *Image) BrokerIDs() []int32 { return slices.Sorted(maps.Keys(m.Brokers)) }

// TopicConfigs returns the settings of a topic that differ from the default: read only, nil if
// there are none.
func (m *Image) TopicConfigs(name string) map[string]string {
	configs, _ := m.topicConfigs.get(name)
	return configs
}

// BrokerConfigs returns the dynamic settings of one broker: read only.
func (m *Image) BrokerConfigs(id int32) map[string]string {
	return m.brokerConfigs[strconv.Itoa(int(id))]
}

// DefaultBrokerConfigs returns the dynamic settings of all brokers: read only.
func (m *Image) DefaultBrokerConfigs() map[string]string { return m.brokerConfigs[defaultBroker] }

// pending reports whether the topic does not exist. Its partition keys then belong to a creation
// that is in progress or has broken off, or to a deleted topic.
func (t *Topic) pending() bool { return t.Name == "" }
