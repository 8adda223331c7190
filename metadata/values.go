package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata/kv"
)

// valueVersion is the version that every value is written with, and the newest that is read. A
// field can be added without a new version, see kept. A new version is a format that older builds
// would misread.
const valueVersion version = 1

// version is the "v" of a value. Decoding a version that is too new fails, so no reader can forget
// the check.
type version int

// UnmarshalJSON reads a version. It returns ErrValueTooNew if this build does not read the version.
func (v *version) UnmarshalJSON(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("read the version %q of a value: %w", text, err)
	}
	if n > int(valueVersion) {
		return fmt.Errorf("%w: it has version %d, this build reads up to %d and supports %s up to level %d: upgrade this broker",
			ErrValueTooNew, n, valueVersion, VarveVersion, Supported()[VarveVersion].Max)
	}
	*v = version(n)
	return nil
}

// kept holds the fields of a stored value that this build does not know. Each type of value embeds
// it, and so do the types that are decoded from values. Encoding writes the fields back: an older
// broker drops no field of a newer one.
type kept struct{ unknown document.Unknown } //nolint:recvcheck // decode writes it through a pointer, encode has a value

func (k *kept) keep(unknown document.Unknown) { k.unknown = unknown }

func (k kept) fields() document.Unknown { return k.unknown }

// topicValue makes a topic exist. It has the number of partitions, so that a topic grows at one
// revision however many transactions its new keys take.
type topicValue struct {
	kept
	V          version `json:"v"`
	ID         TopicID `json:"id"`
	Partitions int32   `json:"partitions"`
	CreatedMs  int64   `json:"created_ms"`
}

// partitionValue is one partition's state; see Partition for the fields.
type partitionValue struct {
	kept
	V                 version       `json:"v"`
	Replicas          []int32       `json:"replicas"`
	ISR               []int32       `json:"isr"`
	ISREpochs         []int64       `json:"isr_epochs,omitempty"`
	ISRDirs           []DirectoryID `json:"isr_dirs,omitempty"`
	Adding            []int32       `json:"adding,omitempty"`
	Removing          []int32       `json:"removing,omitempty"`
	ELR               []int32       `json:"elr,omitempty"`
	ELREpochs         []int64       `json:"elr_epochs,omitempty"`
	ELRDirs           []DirectoryID `json:"elr_dirs,omitempty"`
	Leader            int32         `json:"leader"`
	LeaderEpoch       int32         `json:"leader_epoch"`
	LeaderBrokerEpoch int64         `json:"leader_broker_epoch"`
	UncleanEpoch      int32         `json:"unclean_epoch,omitempty"`
	LossyEpoch        int32         `json:"lossy_epoch,omitempty"`
	PartitionEpoch    int32         `json:"partition_epoch"`
	// CreatedMs is when the partition was created, in Unix ms.
	CreatedMs int64 `json:"created_ms"`
}

type brokerValue struct {
	kept
	V           version    `json:"v"`
	Incarnation string     `json:"incarnation"`
	DirectoryID string     `json:"directory_id"`
	Rack        string     `json:"rack,omitempty"`
	Listeners   []Listener `json:"listeners"`
	StartedMs   int64      `json:"started_ms"`
	// The fields below are as in Broker.
	Directories          []DirectoryID `json:"directories,omitempty"`
	PreviousBrokerEpoch  int64         `json:"previous_epoch,omitempty"`
	KeptBrokerEpoch      int64         `json:"kept_epoch,omitempty"`
	LostSinceKept        []DirectoryID `json:"lost_since_kept,omitempty"`
	LostDirectories      []DirectoryID `json:"lost_directories,omitempty"`
	LostBrokerEpoch      int64         `json:"lost_epoch,omitempty"`
	InControlledShutdown bool          `json:"stopping,omitempty"`
	// Features are the levels that the broker supports.
	Features map[string]FeatureRange `json:"features,omitempty"`
}

// knownValue is a known broker. It stays when the broker is fenced.
type knownValue struct {
	kept
	V         version    `json:"v"`
	Rack      string     `json:"rack,omitempty"`
	Listeners []Listener `json:"listeners,omitempty"`
	// Features are the levels that the broker supported at its last registration.
	Features map[string]FeatureRange `json:"features,omitempty"`
}

type controllerValue struct {
	kept
	V           version `json:"v"`
	Broker      int32   `json:"broker"`
	BrokerEpoch int64   `json:"broker_epoch"`
}

type configsValue struct {
	kept
	V       version           `json:"v"`
	Configs map[string]string `json:"configs"`
}

type clusterIDValue struct {
	kept
	V  version `json:"v"`
	ID string  `json:"id"`
}

type producerIDsValue struct {
	kept
	V    version `json:"v"`
	Next int64   `json:"next"`
}

// encode writes a value of one of the types above. They hold nothing that JSON cannot encode: an
// error is a bug of this package.
func encode(value any) []byte {
	var unknown document.Unknown
	if k, ok := value.(interface{ fields() document.Unknown }); ok {
		unknown = k.fields()
	}
	b, err := document.Marshal(value, unknown)
	if err != nil {
		panic(fmt.Sprintf("metadata: encode %T: %v", value, err))
	}
	return b
}

// decode reads what encode of this or another build has written. It returns ErrValueTooNew for a
// version that this build does not read.
func decode[V any](pair kv.Pair) (V, error) {
	var value V
	unknown, err := document.Unmarshal(pair.Value, &value)
	if err != nil {
		return value, fmt.Errorf("decode %s at revision %d: %w", pair.Key, pair.ModRevision, explain(pair, err))
	}
	if k, ok := any(&value).(interface{ keep(document.Unknown) }); ok {
		k.keep(unknown)
	}
	return value, nil
}

// explain returns ErrValueTooNew if the value has a newer version, and err otherwise. Fields of a
// newer version may have other types, so the version may be the cause of err.
func explain(pair kv.Pair, err error) error {
	var head struct {
		V version `json:"v"`
	}
	if tooNew := json.Unmarshal(pair.Value, &head); errors.Is(tooNew, ErrValueTooNew) {
		return tooNew
	}
	return err
}

func (p *Partition) encode() []byte {
	v := partitionValue{
		kept: p.kept, V: valueVersion, Replicas: p.Replicas, ISR: p.ISR, ISREpochs: p.ISREpochs, ISRDirs: p.ISRDirectories,
		Adding: p.Adding, Removing: p.Removing, ELR: p.ELR, ELREpochs: p.ELREpochs, ELRDirs: p.ELRDirectories,
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, LeaderBrokerEpoch: p.LeaderBrokerEpoch,
		UncleanEpoch: p.UncleanEpoch, LossyEpoch: p.LossyEpoch, PartitionEpoch: p.PartitionEpoch, CreatedMs: p.createdMs,
	}
	if p.unknown != "" || p.Replicas == nil || p.ISR == nil {
		return encode(v)
	}
	return appendPartition(make([]byte, 0, 512), &v)
}

func decodePartition(pair kv.Pair) (Partition, error) {
	v, ok := scanPartition(pair.Value)
	if !ok {
		var err error
		if v, err = decode[partitionValue](pair); err != nil {
			return Partition{}, err
		}
	}
	return Partition{
		kept: v.kept, Replicas: v.Replicas, ISR: v.ISR, ISREpochs: epochsOf(v.ISR, v.ISREpochs), ISRDirectories: v.ISRDirs,
		Adding: v.Adding, Removing: v.Removing, ELR: v.ELR, ELREpochs: epochsOf(v.ELR, v.ELREpochs), ELRDirectories: v.ELRDirs,
		Leader: v.Leader, LeaderEpoch: v.LeaderEpoch, LeaderBrokerEpoch: v.LeaderBrokerEpoch,
		UncleanEpoch: v.UncleanEpoch, LossyEpoch: v.LossyEpoch, PartitionEpoch: v.PartitionEpoch, Revision: pair.ModRevision, createdMs: v.CreatedMs,
	}, nil
}

// epochsOf returns epochs that are parallel to the ids. A value from before the epochs has none:
// its members then have epoch 0, which no live broker has.
func epochsOf(ids []int32, epochs []int64) []int64 {
	if len(epochs) != len(ids) {
		return make([]int64, len(ids))
	}
	return epochs
}

func (b Broker) encode() []byte {
	return encode(brokerValue{
		V: valueVersion, Incarnation: b.Incarnation, DirectoryID: b.DirectoryID, Rack: b.Rack,
		Listeners: b.Listeners, StartedMs: b.StartedAt.UnixMilli(), Directories: b.Directories,
		PreviousBrokerEpoch: b.PreviousBrokerEpoch, KeptBrokerEpoch: b.KeptBrokerEpoch, LostSinceKept: b.LostSinceKept,
		LostDirectories: b.LostDirectories, LostBrokerEpoch: b.LostBrokerEpoch,
		InControlledShutdown: b.InControlledShutdown, Features: b.Features,
	})
}

func decodeBroker(id int32, pair kv.Pair) (Broker, error) {
	v, err := decode[brokerValue](pair)
	if err != nil {
		return Broker{}, err
	}
	return Broker{
		ID: id, Epoch: pair.CreateRevision, Incarnation: v.Incarnation, DirectoryID: v.DirectoryID, Rack: v.Rack,
		Listeners: v.Listeners, StartedAt: time.UnixMilli(v.StartedMs), Directories: v.Directories,
		PreviousBrokerEpoch: v.PreviousBrokerEpoch, KeptBrokerEpoch: v.KeptBrokerEpoch, LostSinceKept: v.LostSinceKept,
		LostDirectories: v.LostDirectories, LostBrokerEpoch: v.LostBrokerEpoch,
		InControlledShutdown: v.InControlledShutdown, Features: v.Features, Lease: pair.Lease,
	}, nil
}

func decodeKnown(id int32, pair kv.Pair) (Broker, error) {
	v, err := decode[knownValue](pair)
	if err != nil {
		return Broker{}, err
	}
	return Broker{ID: id, Rack: v.Rack, Listeners: v.Listeners, Features: v.Features}, nil
}
