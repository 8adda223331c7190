package metadata

import (
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// recall adds to a listed image the keys that could not be read, with their state in the image
// before. An event with such a value leaves its key as it was in the same way: a partition keeps
// its leader, and a topic its settings. A write to such a key conflicts, because the recalled state
// has the old revision. recall must be called before the image is published.
func (m *Image) recall(before *Image) *Image {
	var events []kv.Event
	for key := range m.unread {
		if pair, ok := before.lookUp(key); ok {
			events = append(events, kv.Event{Pair: pair})
		}
	}
	if len(events) == 0 {
		return m
	}
	// The error is nil: an image holds only values that can be read.
	next, _ := m.apply(kv.Batch{Revision: m.Revision, Events: events})
	next.unread = m.unread
	return next
}

// lookUp returns a key with the state that the image shows. It leaves out unknown fields only.
func (m *Image) lookUp(key string) (kv.Pair, bool) {
	prefix := key[:strings.LastIndexByte(key, '/')+1]
	rest := key[len(prefix):]
	pair := kv.Pair{Key: key}
	switch prefix {
	case topicsPrefix:
		t, ok := m.byName.get(rest)
		if !ok {
			return pair, false
		}
		pair.Value, pair.CreateRevision, pair.ModRevision = encode(topicValue{
			V: valueVersion, ID: t.ID, Partitions: t.count, CreatedMs: t.createdMs,
		}), t.Epoch, t.Revision
	case brokersPrefix:
		b, ok := lookUpBroker(m.Brokers, rest)
		if !ok {
			return pair, false
		}
		pair.Value, pair.CreateRevision, pair.ModRevision, pair.Lease = b.encode(), b.Epoch, b.Epoch, b.Lease
	case knownPrefix:
		b, ok := lookUpBroker(m.Known, rest)
		if !ok {
			return pair, false
		}
		pair.Value = encode(knownValue{V: valueVersion, Rack: b.Rack, Listeners: b.Listeners, Features: b.Features})
	case topicConfigsPrefix, brokerConfigsPrefix:
		configs := m.TopicConfigs(rest)
		if prefix == brokerConfigsPrefix {
			configs = m.brokerConfigs[rest]
		}
		pair.Value = encode(configsValue{V: valueVersion, Configs: configs})
		return pair, configs != nil
	case "":
		return m.lookUpSingle(key)
	default:
		return m.lookUpPartition(key)
	}
	return pair, true
}

func lookUpBroker(all map[int32]Broker, rest string) (Broker, bool) {
	id, ok := parseNumber(rest)
	if !ok {
		return Broker{}, false
	}
	b, ok := all[id]
	return b, ok
}

// lookUpSingle is lookUp for the keys without a prefix.
func (m *Image) lookUpSingle(key string) (kv.Pair, bool) {
	switch key {
	case controllerKey:
		v := controllerValue{V: valueVersion, Broker: m.ControllerID, BrokerEpoch: m.ControllerBrokerEpoch}
		return kv.Pair{Key: key, Value: encode(v), CreateRevision: m.ControllerEpoch}, m.ControllerID != NoBroker
	case featuresKey:
		v := featuresValue{V: valueVersion, Epoch: m.Features.Epoch, Levels: m.Features.Levels}
		return kv.Pair{Key: key, Value: encode(v), ModRevision: m.Features.revision}, m.Features.Levels != nil
	case clusterIDKey:
		return kv.Pair{Key: key, Value: encode(clusterIDValue{V: valueVersion, ID: m.ClusterID})}, m.ClusterID != ""
	}
	return kv.Pair{}, false
}

func (m *Image) lookUpPartition(key string) (kv.Pair, bool) {
	rest, ok := strings.CutPrefix(key, partitionsPrefix)
	if !ok {
		return kv.Pair{}, false
	}
	id, number, ok := parsePartitionKey(rest)
	t, exists := m.byID.get(id)
	if !ok || !exists || int(number) >= len(t.all) || t.all[number].Revision == 0 {
		return kv.Pair{}, false
	}
	return kv.Pair{Key: key, Value: t.all[number].encode(), ModRevision: t.all[number].Revision}, true
}
