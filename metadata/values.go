package metadata

import (
	"encoding/json"
	"fmt"
	"time"
)

// valueVersion is what every value is written with. Readers ignore fields that
// they do not know, so that a field can be added without a new version.
const valueVersion = 1

// topicValue makes a topic exist. Partitions are counted here, so that a topic
// grows at one revision however many transactions its new keys take.
type topicValue struct {
	V          int     `json:"v"`
	ID         TopicID `json:"id"`
	Partitions int32   `json:"partitions"`
	CreatedMs  int64   `json:"created_ms"`
}

// partitionValue is one partition's state; see Partition for the fields.
type partitionValue struct {
	V                 int     `json:"v"`
	Replicas          []int32 `json:"replicas"`
	ISR               []int32 `json:"isr"`
	ISREpochs         []int64 `json:"isr_epochs,omitempty"`
	Adding            []int32 `json:"adding,omitempty"`
	Removing          []int32 `json:"removing,omitempty"`
	ELR               []int32 `json:"elr,omitempty"`
	ELREpochs         []int64 `json:"elr_epochs,omitempty"`
	Leader            int32   `json:"leader"`
	LeaderEpoch       int32   `json:"leader_epoch"`
	LeaderBrokerEpoch int64   `json:"leader_broker_epoch"`
	PartitionEpoch    int32   `json:"partition_epoch"`
	// CreatedMs is when the partition was created, for those who look.
	CreatedMs int64 `json:"created_ms"`
}

type brokerValue struct {
	V           int        `json:"v"`
	Incarnation string     `json:"incarnation"`
	DirectoryID string     `json:"directory_id"`
	Rack        string     `json:"rack,omitempty"`
	Listeners   []Listener `json:"listeners"`
	StartedMs   int64      `json:"started_ms"`
	// PreviousEpoch and Stopping are Broker's.
	PreviousEpoch int64 `json:"previous_epoch,omitempty"`
	Stopping      bool  `json:"stopping,omitempty"`
}

// knownValue is what stays of a broker when it is not alive.
type knownValue struct {
	V         int        `json:"v"`
	Rack      string     `json:"rack,omitempty"`
	Listeners []Listener `json:"listeners,omitempty"`
}

type controllerValue struct {
	V           int   `json:"v"`
	Broker      int32 `json:"broker"`
	BrokerEpoch int64 `json:"broker_epoch"`
}

type configsValue struct {
	V       int               `json:"v"`
	Configs map[string]string `json:"configs"`
}

type clusterIDValue struct {
	V  int    `json:"v"`
	ID string `json:"id"`
}

type producerIDsValue struct {
	V    int   `json:"v"`
	Next int64 `json:"next"`
}

// encode writes a value of the types above. They hold nothing that JSON cannot
// write, so that an error is a bug of this package.
func encode(value any) []byte {
	b, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("metadata: encode %T: %v", value, err))
	}
	return b
}

func decode[V any](kv KV) (V, error) {
	var value V
	if err := json.Unmarshal(kv.Value, &value); err != nil {
		return value, fmt.Errorf("decode %s at revision %d: %w", kv.Key, kv.ModRevision, err)
	}
	return value, nil
}

func (p *Partition) encode() []byte {
	return encode(partitionValue{
		V: valueVersion, Replicas: p.Replicas, ISR: p.ISR, ISREpochs: p.ISREpochs, Adding: p.Adding, Removing: p.Removing,
		ELR: p.ELR, ELREpochs: p.ELREpochs,
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, LeaderBrokerEpoch: p.LeaderBrokerEpoch,
		PartitionEpoch: p.PartitionEpoch, CreatedMs: p.createdMs,
	})
}

func decodePartition(kv KV) (Partition, error) {
	v, err := decode[partitionValue](kv)
	if err != nil {
		return Partition{}, err
	}
	return Partition{
		Replicas: v.Replicas, ISR: v.ISR, ISREpochs: epochsOf(v.ISR, v.ISREpochs), Adding: v.Adding, Removing: v.Removing,
		ELR: v.ELR, ELREpochs: epochsOf(v.ELR, v.ELREpochs),
		Leader: v.Leader, LeaderEpoch: v.LeaderEpoch, LeaderBrokerEpoch: v.LeaderBrokerEpoch,
		PartitionEpoch: v.PartitionEpoch, Revision: kv.ModRevision, createdMs: v.CreatedMs,
	}, nil
}

// epochsOf makes the epochs parallel to the ids. A value that is older than the
// epochs has none: its members count for no live broker.
func epochsOf(ids []int32, epochs []int64) []int64 {
	if len(epochs) != len(ids) {
		return make([]int64, len(ids))
	}
	return epochs
}

func (b Broker) encode() []byte {
	return encode(brokerValue{
		V: valueVersion, Incarnation: b.Incarnation, DirectoryID: b.DirectoryID, Rack: b.Rack,
		Listeners: b.Listeners, StartedMs: b.StartedAt.UnixMilli(), PreviousEpoch: b.PreviousEpoch, Stopping: b.Stopping,
	})
}

func decodeBroker(id int32, kv KV) (Broker, error) {
	v, err := decode[brokerValue](kv)
	if err != nil {
		return Broker{}, err
	}
	return Broker{
		ID: id, Epoch: kv.CreateRevision, Incarnation: v.Incarnation, DirectoryID: v.DirectoryID, Rack: v.Rack,
		Listeners: v.Listeners, StartedAt: time.UnixMilli(v.StartedMs), PreviousEpoch: v.PreviousEpoch, Stopping: v.Stopping,
		Lease: kv.Lease,
	}, nil
}

func decodeKnown(id int32, kv KV) (Broker, error) {
	v, err := decode[knownValue](kv)
	if err != nil {
		return Broker{}, err
	}
	return Broker{ID: id, Rack: v.Rack, Listeners: v.Listeners}, nil
}
